"""Trackers by their names: TensorBoard, or a hook of a person's own."""

from collections.abc import Iterable
from functools import partial

from reparam.diagnostics.imported import function_named
from reparam.recipes.config import to_dict
from reparam.training.folder import RunFolder
from reparam.training.metrics import Hook, Trackers, check_tensorboard, tensorboard
from reparam.training.settings import Settings

TENSORBOARD = "tensorboard"


def hook(name: str) -> Hook:
    """The hook `tensorboard`, or the one that `FILE.py:NAME` or `MODULE:NAME` names."""
    if name != TENSORBOARD:
        own: Hook = function_named(name, "--tracker")
        return own
    check_tensorboard()
    return tensorboard


def trackers(names: Iterable[str], settings: Settings, folder: RunFolder) -> Trackers:
    """What begins to track a run, by the names of the hooks."""
    config = {**to_dict(settings), "folder": str(folder.path)}
    return {name: partial(hook(name), config) for name in names}
