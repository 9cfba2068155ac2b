"""Settings as a run folder holds them: `config.json`, which names the model."""

from dataclasses import asdict
from typing import Any

from reparam.recipes import MODELS
from reparam.recipes.options import checked, model_of
from reparam.training.folder import RunError, RunFolder
from reparam.training.settings import Settings


def to_dict(settings: Settings) -> dict[str, Any]:
    """Settings as JSON holds them, with the model's name."""
    (model,) = (name for name, cls in MODELS.items() if type(settings) is cls)
    return {"model": model, **asdict(settings)}


def from_dict(values: dict[str, Any]) -> Settings:
    """The settings that `to_dict` wrote."""
    if not isinstance(values, dict):
        raise ValueError(f"config: expected options by name, got {values!r}")  # noqa: TRY004 (of JSON)
    model = model_of(values, "config")
    options = {name: value for name, value in values.items() if name != "model"}
    return MODELS[model](**checked(model, options, "config"))


def kept(folder: RunFolder) -> Settings:
    """The settings of the run that is in the folder."""
    try:
        return from_dict(folder.values())
    except (ValueError, AttributeError, RecursionError) as error:
        raise RunError(f"{folder.config}: expected the config of a run; {error}") from None


def agreed(folder: RunFolder, given: Settings) -> Settings:
    """The run's own settings; refuse options that ask for others."""
    settings = kept(folder)
    own, defaults = to_dict(settings), to_dict(type(given)())
    asked = {k: v for k, v in to_dict(given).items() if k == "model" or v != defaults[k]}
    changed = [f"{k}={own.get(k)} (not {v})" for k, v in asked.items() if own.get(k) != v]
    if changed:
        raise ValueError(
            f"--resume: expected the options that {folder.path} was begun with, or none, got "
            f"others: it has {', '.join(changed)}; begin a new run to change them"
        )
    return settings
