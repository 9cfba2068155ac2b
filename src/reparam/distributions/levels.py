"""What every inverse distribution function does about levels of 0 and 1."""

from collections.abc import Callable

import torch
from torch import Tensor


def between(
    low: Tensor | float, high: Tensor | float, level: Tensor, quantile: Callable[[Tensor], Tensor]
) -> Tensor:
    """`quantile(level)`, which only sees levels inside (0, 1); at these, the ends of the support.

    No infinity, which derivatives would turn into NaN, passes from there to the parameters.
    """
    first, last = level <= 0, level >= 1
    inside = quantile(level.masked_fill(first | last, 0.5))
    return torch.where(first, low, torch.where(last, high, inside))
