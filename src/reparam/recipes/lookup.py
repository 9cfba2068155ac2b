"""What the folder of a model holds, found by its settings: its task and data, and its report."""

from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from reparam.noise import fold_in
from reparam.recipes.config import to_dict
from reparam.report.page import write_page
from reparam.report.sections import options
from reparam.training.data import Data, count
from reparam.training.distributed import check_shares, device_kind
from reparam.training.folder import RunFolder
from reparam.training.settings import Settings
from reparam.training.task import Task


def prepared(settings: Settings) -> tuple[Task, Data]:
    """The task and the data, with everything that can be refused refused.

    Initial parameters depend on the seed alone; the global generator is put back.
    """
    device_kind(settings.device)
    with torch.random.fork_rng():
        torch.manual_seed(fold_in(settings.seed, 0) % 2**63)
        task, data = _beside(settings, "task").prepare(settings)
    check_shares(min(settings.batch, count(data.train), count(data.test)))
    return task, data


@torch.no_grad()
def write_report(settings: Settings, task: Task, data: Data, folder: RunFolder) -> Path:
    """`report.html` of a run, from its records and its trained model."""
    config = to_dict(settings)
    sections = _beside(settings, "report").sections(task, data, list(folder.records()))
    way = config.get("estimator")
    subtitle = f"Sampling step differentiated by {way}. {data.note}" if way else data.note
    title = f"{config['model']} on {data.name}"
    return write_page(folder.report, title, subtitle, [*sections, options(config)])


def _beside(settings: Settings, name: str) -> Any:
    """A module of the folder that the settings are defined in."""
    return import_module(f"{type(settings).__module__.rpartition('.')[0]}.{name}")
