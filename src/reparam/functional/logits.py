"""What every operation on logits asks of its arguments, and how noise is added to them."""

from collections.abc import Sequence
from math import inf
from typing import Literal

import torch
from torch import Tensor

from reparam.checks import check_dim, check_floating, inspectable
from reparam.noise import Noise

Empty = Literal["error", "zero"]

SINGLE = (torch.float32, torch.float16, torch.bfloat16)
MODERATE = 100.0  # beside logits of this size, noise keeps its precision


def prepared(
    logits: Tensor, dim: int, mask: Tensor | None, empty: Empty, validate: bool
) -> tuple[Tensor, Tensor | None]:
    """Checked logits with -inf where masked, and which rows have nothing allowed, if zeroed."""
    check_floating("logits", logits)
    if logits.ndim:
        check_dim(dim, logits)
    if logits.ndim == 0 or logits.shape[dim] == 0:
        raise ValueError(
            f"logits: expected at least one class along dim {dim}, got shape {tuple(logits.shape)}"
        )
    if mask is not None:
        allowed = checked_mask(mask, "logits", logits)
        if validate and inspectable():
            _check_values(logits)  # also where they are masked
        logits = logits.masked_fill(~allowed, -torch.inf)
    if validate and inspectable():
        _check_rows(logits, dim, empty)
    if empty == "error":
        return logits, None
    nothing = (logits == -torch.inf).all(dim, keepdim=True)
    # An empty row samples from zeros, which keeps its arithmetic finite, and is zeroed afterwards.
    return logits.masked_fill(nothing, 0), nothing


def checked_mask(mask: Tensor, name: str, value: Tensor) -> Tensor:
    """The mask, refused unless it is boolean and broadcasts to the shape of the value so named."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = f"{mask.dtype}; use mask.bool()" if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask: expected a boolean tensor (True = allowed), got {got}")
    if not broadcasts(mask.shape, value.shape):
        raise ValueError(
            f"mask: expected a shape that broadcasts to that of {name}, {tuple(value.shape)}, got "
            f"{tuple(mask.shape)}"
        )
    return mask


def _check_values(logits: Tensor) -> None:
    # NaN and +inf survive a maximum, so one reduction clears the common case.
    if logits.numel() == 0 or bool(logits.detach().amax() < torch.inf):
        return
    raise _out_of_range(logits)


def _check_rows(logits: Tensor, dim: int, empty: Empty) -> None:
    if logits.numel() == 0:
        return
    top = logits.detach().amax(dim)
    if not bool((top < torch.inf).all()):
        raise _out_of_range(logits)
    nothing = top == -torch.inf
    if empty == "error" and bool(nothing.any()):
        raise ValueError(
            f"logits: expected an allowed class in every row, got {int(nothing.sum())} of "
            f"{nothing.numel()} rows with none (all masked or -inf); allow one, or for "
            "gumbel_softmax pass empty='zero'"
        )


def _out_of_range(logits: Tensor) -> ValueError:
    nan, inf = int(logits.isnan().sum()), int((logits == torch.inf).sum())
    return ValueError(
        f"logits: expected finite values or -inf, got {nan} NaN and {inf} +inf among "
        f"{logits.numel()} of shape {tuple(logits.shape)}; look upstream for an overflow"
    )


def is_moderate(logits: Tensor) -> bool:
    """Whether every class is allowed and the noise keeps its precision beside the logits."""
    return reach(logits) < MODERATE


def reach(logits: Tensor) -> float:
    """The largest absolute value; infinite or NaN where values cannot be seen or need care."""
    if not (logits.dtype in SINGLE and logits.ndim and logits.numel() and inspectable()):
        return inf
    low, high = torch.aminmax(logits.detach())
    return max(-low.item(), high.item())


def perturbed(logits: Tensor, n: int, noise: Noise) -> Tensor:
    """Logits `(*batch, K)` plus n sets of Gumbel noise, in its dtype, up to a constant per row."""
    gumbel = noise.gumbel(n, logits)
    logits = logits.to(gumbel.dtype)
    # The largest becomes 0 first: beside logits of 1e8 the noise would be lost to rounding.
    centered = logits - logits.detach().amax(-1, keepdim=True)
    return gumbel.add_(centered) if inspectable() else centered + gumbel


def check_empty(empty: str) -> None:
    """Refuse an answer to empty rows that does not exist."""
    if empty not in ("error", "zero"):
        raise ValueError(f"empty: expected 'error' or 'zero', got {empty!r}")


def broadcasts(shape: Sequence[int], to: Sequence[int]) -> bool:
    """Whether `shape` broadcasts to exactly `to`."""
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(size in (1, wanted) for size, wanted in pairs)
