"""What numba compiles, it compiles at once, or loads from an earlier process."""

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])
njit: Any = numba.njit  # its own types would make dispatchers of the functions


def compiled(signatures: str | list[str], *freedom: str) -> Callable[[F], F]:
    """A decorator; freedom: the flags of `fastmath` that the function may be compiled with."""

    def decorate(function: F) -> F:
        options = {"fastmath": set(freedom), "error_model": "numpy", "nogil": True}
        try:
            kernel: F = njit(signatures, cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            warnings.warn(
                f"reparam: {error}, so every process compiles anew; set NUMBA_CACHE_DIR to a "
                "folder that can be written to",
                RuntimeWarning,
                stacklevel=2,
            )
            kernel = njit(signatures, **options)(function)
        return kernel

    return decorate
