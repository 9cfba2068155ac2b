"""The tail of the standard normal distribution, at any distance."""

from math import pi

import torch
from torch import Tensor

_STEPS = 6


def mills(x: Tensor) -> Tensor:
    """P(N(0, 1) > x) over its density at x."""
    ratio: Tensor = (pi / 2) ** 0.5 * torch.special.erfcx(x / 2**0.5)
    return ratio


def log_tail_ratio(x: Tensor, beyond: Tensor) -> Tensor:
    """log P(N > x + beyond) - log P(N > x) for x, beyond >= 0, without their cancellation."""
    ratio = (mills(x + beyond) / mills(x)).log() - beyond * (2 * x + beyond) / 2
    return torch.where(beyond == torch.inf, -torch.inf, ratio)


def beyond(x: Tensor, log_ratio: Tensor) -> Tensor:
    """The inverse of `log_tail_ratio`, without a gradient.

    Newton's method on a concave function, from where it is without its Mills ratio.
    """
    t = -2 * log_ratio / (x + torch.sqrt(x * x - 2 * log_ratio))
    for _ in range(_STEPS):
        t = (t + (log_tail_ratio(x, t) - log_ratio) * mills(x + t)).clamp(min=0)
    return t
