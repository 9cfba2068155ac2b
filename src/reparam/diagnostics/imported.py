"""A person's own function, named on the command line."""

import runpy
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def function_named(name: str, option: str) -> Any:
    """What `MODULE:FUNCTION` or `FILE.py:FUNCTION` names, given for an option.

    Raises:
        ValueError: if there is none by that name, or it cannot be imported.
    """
    home, _, function = name.rpartition(":")
    if not (home and function):
        raise ValueError(f"{option}: expected MODULE:FUNCTION or FILE.py:FUNCTION, got {name!r}")
    sys.path.insert(0, str(Path(home).resolve().parent if home.endswith(".py") else Path.cwd()))
    try:
        names = runpy.run_path(home) if home.endswith(".py") else vars(import_module(home))
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"{option}: expected code that can be imported from {home}, got "
            f"{type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.pop(0)
    found = names.get(function)
    if not callable(found):
        raise ValueError(  # noqa: TRY004 (of a name)
            f"{option}: expected a function that {home} defines, got {function!r}"
        )
    return found
