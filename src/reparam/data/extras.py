"""Import what only some sources need, when they need it."""

from importlib import import_module
from typing import Any


def optional(module: str, purpose: str) -> Any:
    """Return the module, or raise an ImportError that says what to install for `purpose`.

    >>> optional("math", "the example").floor(1.5)
    1
    >>> optional("no_such_module", "the example")
    Traceback (most recent call last):
    ImportError: the example needs no_such_module, which is missing: pip install 'reparam[train]'
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        raise ImportError(
            f"{purpose} needs {missing.name}, which is missing: pip install 'reparam[train]'"
        ) from missing
