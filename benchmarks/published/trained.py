"""A model of `reparam train`, trained for its figures alone."""

import tempfile
from pathlib import Path

from rich.console import Console

from reparam.recipes.config import to_dict
from reparam.recipes.lookup import prepared
from reparam.training.distributed import world
from reparam.training.folder import RunFolder
from reparam.training.loop import Run
from reparam.training.progress import Progress
from reparam.training.settings import Settings


def trained(settings: Settings) -> dict[str, float]:
    """The metrics at the end, on held-out data; the run folder is not kept."""
    task, data = prepared(settings)
    with (
        tempfile.TemporaryDirectory() as folder,
        world("cpu") as here,
        Progress(Console(stderr=True), quiet=True) as progress,
    ):
        place = RunFolder(Path(folder) / "run")
        place.create(to_dict(settings))
        return Run(task, data, settings, place, here).train(progress)
