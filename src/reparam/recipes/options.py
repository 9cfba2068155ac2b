"""Options in plain data, such as a TOML file has them, read strictly. Imports no torch."""

import json
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_type_hints

from reparam.recipes import MODELS

KINDS = {int: "an integer", float: "a number", str: "a text"}


def read(path: Path, option: str) -> dict[str, Any]:
    """What a .toml or .json file holds, by name. option: what the file was given for."""
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{option}: expected a TOML or .json file, got {path}: {said}") from None
    if not isinstance(values, dict):
        raise ValueError(  # noqa: TRY004 (of JSON)
            f"{option}: expected options by name, got {path}, which holds {type(values).__name__}"
        )
    return values


def model_of(values: Mapping[str, Any], where: str) -> str:
    """The model that a file names."""
    return known(values.get("model"), MODELS, f"{where}: model")


def checked(model: str, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Options by the names of the model's settings, each of its type.

    Names may have hyphens, as on the command line; a text may be written as a number.

    >>> checked("vae", {"log-every": 5, "kl_weight": 0.5}, "run.toml")
    {'log_every': 5, 'kl_weight': '0.5'}
    """
    types = get_type_hints(MODELS[model])
    found: dict[str, Any] = {}
    for written, value in values.items():
        name = known(written.replace("-", "_"), types, f"{where}: option of {model}")
        if name in found:
            raise ValueError(f"{where}: expected {name} once, got it with _ and with -")
        found[name] = _typed(value, types[name], f"{where}: {written}")
    return found


def known(given: Any, names: Mapping[str, Any], what: str) -> str:
    """The name, if it is one of these."""
    if isinstance(given, str) and given in names:
        return given
    near = get_close_matches(str(given), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{what}: expected one of {', '.join(names)}, got {given!r}{hint}")


def _typed(value: Any, kind: Any, what: str) -> Any:
    choices = get_args(kind)
    if choices:
        return known(value, dict.fromkeys(choices), what)
    taken = {int: int, float: int | float, str: int | float | str}[kind]
    if not isinstance(value, taken) or isinstance(value, bool):
        raise ValueError(f"{what}: expected {KINDS[kind]}, got {value!r}")  # noqa: TRY004 (of a file)
    return kind(value)
