"""What every operation on logits asks of its arguments, and how noise is added to them."""

from collections.abc import Sequence
from math import inf
from typing import Literal

import torch
from torch import Tensor

from reparam.checks import check_floating, inspectable
from reparam.noise import Noise

Empty = Literal["error", "zero"]

SINGLE = (torch.float32, torch.float16, torch.bfloat16)
MODERATE = 100.0  # beside logits of this size, noise keeps its precision


def prepared(
    logits: Tensor, dim: int, mask: Tensor | None, empty: Empty, validate: bool
) -> tuple[Tensor, Tensor | None]:
    """Checked logits with -inf where masked, and which rows have nothing allowed, if zeroed."""
    check_floating("logits", logits)
    if logits.ndim == 0 or logits.shape[dim] == 0:
        raise ValueError(
            f"logits: expected at least one class along dim {dim}, got shape {tuple(logits.shape)}"
        )
    validate = validate and inspectable()
    if validate:
        _check_values(logits)
    if mask is not None:
        logits = logits.masked_fill(~checked_mask(mask, "logits", logits), -torch.inf)
    if empty == "error":
        if validate:
            _check_rows(logits, dim)
        return logits, None
    nothing = (logits == -torch.inf).all(dim, keepdim=True)
    # An empty row samples from zeros, which keeps its arithmetic finite, and is zeroed afterwards.
    return logits.masked_fill(nothing, 0), nothing


def checked_mask(mask: Tensor, name: str, value: Tensor) -> Tensor:
    """The mask, refused unless it is boolean and broadcasts to the shape of the value so named."""
    if mask.dtype != torch.bool:
        raise TypeError(
            f"mask: expected a boolean tensor (True = allowed), got {mask.dtype}; use mask.bool()"
        )
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
    nan, inf = int(logits.isnan().sum()), int((logits == torch.inf).sum())
    raise ValueError(
        f"logits: expected finite values or -inf, got {nan} NaN and {inf} +inf among "
        f"{logits.numel()} of shape {tuple(logits.shape)}; look upstream for an overflow"
    )


def _check_rows(logits: Tensor, dim: int) -> None:
    if logits.numel() == 0:
        return
    nothing = logits.detach().amax(dim) == -torch.inf
    if bool(nothing.any()):
        raise ValueError(
            f"logits: expected an allowed class in every row, got {int(nothing.sum())} of "
            f"{nothing.numel()} rows with none (all masked or -inf); allow one, or for "
            "gumbel_softmax pass empty='zero'"
        )


def is_moderate(logits: Tensor) -> bool:
    """Whether every class is allowed and the noise keeps its precision beside the logits."""
    return reach(logits) < MODERATE


def reach(logits: Tensor) -> float:
    """The largest absolute value; infinite or NaN where values cannot be seen or need care."""
    if not (logits.dtype in SINGLE and logits.ndim and logits.numel() and inspectable()):
        return inf
    low, high = torch.aminmax(logits.detach())
    return max(-float(low), float(high))


def perturbed(logits: Tensor, n: int, noise: Noise) -> Tensor:
    """Logits `(*batch, K)` plus n sets of Gumbel noise, in its dtype, up to a constant per row."""
    gumbel = noise.gumbel(n, logits)
    logits = logits.to(gumbel.dtype)
    # The largest becomes 0 first: beside logits of 1e8 the noise would be lost to rounding.
    return logits - logits.detach().amax(-1, keepdim=True) + gumbel


def check_empty(empty: str) -> None:
    """Refuse an answer to empty rows that does not exist."""
    if empty not in ("error", "zero"):
        raise ValueError(f"empty: expected 'error' or 'zero', got {empty!r}")


def broadcasts(shape: Sequence[int], to: Sequence[int]) -> bool:
    """Whether `shape` broadcasts to exactly `to`."""
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(size in (1, wanted) for size, wanted in pairs)
