"""From a task and its data to a finished run folder."""

import torch
from rich.console import Console

from reparam.training.data import Data
from reparam.training.distributed import world
from reparam.training.folder import RunFolder
from reparam.training.loop import Run
from reparam.training.progress import Progress
from reparam.training.settings import Settings
from reparam.training.task import Task


def run(
    settings: Settings, task: Task, data: Data, folder: RunFolder, console: Console
) -> dict[str, float]:
    """Train into the folder, from its checkpoint if it has one; the final metrics."""
    torch.set_num_threads(settings.threads)
    with world(settings.device) as here, Progress(console, quiet=not here.first) as progress:
        training = Run(task, data, settings, folder, here)
        training.resume()
        return training.train(progress)
