"""From settings to a finished run folder."""

import torch
from rich.console import Console

from reparam.data import Images, load
from reparam.noise import fold_in
from reparam.training.distributed import check_shares, device_kind, world
from reparam.training.folder import RunFolder
from reparam.training.loop import Run, planned_steps
from reparam.training.progress import Progress
from reparam.training.settings import Settings
from reparam.training.vae import VaeTask, vae_task


def prepared(settings: Settings) -> tuple[VaeTask, Images]:
    """The data and the task, with everything that can be refused refused.

    Initial parameters depend on the seed alone; the global generator is put back.
    """
    device_kind(settings.device)
    images = load(settings.data, binarize=settings.binarize, seed=settings.seed)
    check_shares(min(settings.batch, len(images.train), len(images.test)))
    with torch.random.fork_rng():
        torch.manual_seed(fold_in(settings.seed, 0) % 2**63)
        return vae_task(settings, images, planned_steps(settings, images)[1]), images


def run(
    settings: Settings, task: VaeTask, images: Images, folder: RunFolder, console: Console
) -> dict[str, float]:
    """Train into the folder, from its checkpoint if it has one; the final metrics."""
    torch.set_num_threads(settings.threads)
    with world(settings.device) as here, Progress(console, quiet=not here.first) as progress:
        training = Run(task, images, settings, folder, here)
        training.resume()
        return training.train(progress)
