"""What every room asks of its arguments, and how a wrong one is answered: expected, got, fix."""

from contextlib import AbstractContextManager, nullcontext
from math import isfinite

import torch
from torch import Tensor

LARGEST_SUPPORT = 2**20


def inspectable() -> bool:
    """Whether tensor values may be looked at: not under `torch.compile`, not under `torch.func`."""
    return not (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active())  # noqa: SLF001


def working_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that noise and softmax are computed in: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def no_autocast(like: Tensor) -> AbstractContextManager[object]:
    """Autocast would take a matrix product, and with it a sample, to half precision."""
    device = like.device.type
    if not torch.is_autocast_enabled(device):  # entering the other takes as long as some kernels
        return nullcontext()
    return torch.autocast(device, enabled=False)


def check_floating(name: str, value: Tensor) -> None:
    """Refuse what is no tensor, and integer, boolean and complex ones."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name}: expected a real floating-point tensor, got {type(value).__name__}"
        )
    if not value.is_floating_point():
        raise TypeError(
            f"{name}: expected a real floating-point tensor, got {value.dtype} of shape "
            f"{tuple(value.shape)}; convert it with .float()"
        )


def check_dim(dim: int, value: Tensor) -> None:
    """Refuse a dimension that the value does not have, as torch does by IndexError."""
    if not -value.ndim <= dim < value.ndim:
        raise IndexError(
            f"dim: expected one of the {value.ndim} dimensions of shape {tuple(value.shape)}, from "
            f"{-value.ndim} to {value.ndim - 1}, got {dim}"
        )


def check_tau(tau: float | Tensor) -> None:
    """Refuse a temperature that is negative or NaN: it would silently invert the distribution."""
    if isinstance(tau, Tensor):
        check_floating("tau", tau)
        bad = inspectable() and not bool((tau >= 0).all())
    else:
        bad = not tau >= 0
    if bad:
        raise ValueError(
            f"tau: expected a temperature >= 0 (0 is the exact one-hot), got {tau}; "
            "usual values lie between 0.1 and 2"
        )


def check_finite(name: str, value: float) -> None:
    """Refuse infinity and NaN."""
    if not isfinite(value):
        raise ValueError(f"{name}: expected a finite number, got {value}")


def check_count(name: str, value: int, least: int = 1) -> None:
    """Refuse a count below `least`, or one that is no integer."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: expected an integer >= {least}, got {value!r}")


def check_support(size: int) -> None:
    """Refuse to enumerate what does not fit in memory."""
    if size > LARGEST_SUPPORT:
        raise ValueError(
            f"q: expected a support of at most {LARGEST_SUPPORT:,} outcomes to enumerate, got "
            f"{size:,}; use a sampling estimator such as 'rloo'"
        )


def check_costs(costs: Tensor, expected: torch.Size) -> Tensor:
    """The costs, refused unless there is one for each point and batch row."""
    check_floating("costs", costs)
    if costs.shape == expected:
        return costs
    missing = len(expected) - costs.ndim
    if missing > 0 and costs.ndim > 0 and costs.shape == expected[: costs.ndim]:
        fix = (
            f"if the last {missing} batch dimension(s) of q make up one point, "
            f"wrap q in Independent(q, {missing})"
        )
    else:
        fix = "keep the points' leading dimension and reduce over event dimensions only"
    raise ValueError(
        f"costs: expected one cost per point and batch row, shape {tuple(expected)} = "
        f"(points, *batch), got {tuple(costs.shape)}; {fix}"
    )
