"""The `[fast]` extra: kernels compiled by numba, where it is installed and works.

They are loaded at the first call that they serve, which then takes about a second, or several where
numba has cached nothing yet; this changes no result beyond rounding, of the same key. A generator's
samples differ from those of the path without numba.

The environment variable REPARAM_FAST is read at every call: 0 leaves the kernels out, 1 makes it an
error that they cannot be had. Unset, whatever can be had is used.
"""

import importlib
import os
import warnings
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType

__all__ = ["status"]

KERNELS = ("reparam.kernels.gumbel_softmax.compiled", "reparam.kernels.sinkhorn.compiled")
"""The modules with compiled kernels: importing one compiles it, or loads what was cached."""


def kernel(name: str) -> ModuleType | None:
    """The module of compiled kernels of that name, or None, if pure torch is to be used.

    RuntimeError: REPARAM_FAST is 1, and the kernels cannot be had.
    """
    wanted = _wanted()
    if wanted is False:
        return None
    module = _loaded(name)
    if isinstance(module, ModuleType):
        return module
    if wanted:
        raise RuntimeError(f"REPARAM_FAST=1: expected compiled kernels, but {module}")
    return None


def status() -> str:
    """One line: whether compiled kernels are used, or why not and what to do.

    >>> status()  # doctest: +ELLIPSIS
    '...'
    """
    if _wanted() is False:
        return "REPARAM_FAST=0: pure torch is used"
    for name in KERNELS:
        module = _loaded(name)
        if isinstance(module, str):
            return f"{module}; pure torch is used"
    return f"numba {version('numba')} kernels are used"


def _wanted() -> bool | None:
    setting = os.environ.get("REPARAM_FAST")
    if setting not in (None, "0", "1"):
        raise ValueError(
            "REPARAM_FAST: expected 0 (never), 1 (or an error) or nothing (where possible), got "
            f"{setting!r}"
        )
    return None if setting is None else setting == "1"


@cache
def _loaded(name: str) -> ModuleType | str:
    """The module, or why it cannot be had, which is warned of once if numba is there."""
    if find_spec("numba") is None:
        return "numba is not installed: pip install 'reparam[fast]'"
    try:
        if importlib.import_module("numba").config.DISABLE_JIT:
            return "numba compiles nothing while NUMBA_DISABLE_JIT is set: unset it"
        return importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 (whatever a compiler may raise, pure torch remains)
        reason = f"numba cannot compile here: {type(error).__name__}: {error}"
        warnings.warn(f"reparam: {reason}; pure torch is used", RuntimeWarning, stacklevel=4)
        return reason
