"""From a task and its data to a finished run folder."""

from types import MappingProxyType

import torch
from rich.console import Console

from reparam.training.data import Data
from reparam.training.distributed import World, world
from reparam.training.folder import RunFolder
from reparam.training.loop import Run
from reparam.training.metrics import Trackers
from reparam.training.progress import Progress
from reparam.training.settings import Settings
from reparam.training.task import Task


def run(
    settings: Settings,
    task: Task,
    data: Data,
    folder: RunFolder,
    console: Console,
    *,
    accumulate: int = 1,
    trackers: Trackers = MappingProxyType({}),
) -> dict[str, float]:
    """Train into the folder, from its checkpoint if it has one; the final metrics.

    accumulate: parts that a process takes its share of a batch in.
    trackers: what else is told the metrics.
    """
    torch.set_num_threads(settings.threads)

    def train(here: World) -> dict[str, float]:
        training = Run(task, data, settings, folder, here, accumulate=accumulate, trackers=trackers)
        training.resume()
        with Progress(console, quiet=not here.first) as progress:
            return training.train(progress)

    with world(settings.device) as here:
        return train(here)
