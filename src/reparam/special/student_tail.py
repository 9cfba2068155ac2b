"""The tail of Student's t distribution, with its derivatives.

With t = sqrt(df) sinh s its density is proportional to cosh(s)^-df ds, so that the tail beyond t is
that of cosh^-df, over twice the one beyond 0.
"""

import torch
from torch import Tensor

from reparam.special.quadrature import integral

_NATS = 38.0
_SHIFTS = 3
_LARGEST = 1e150  # it has a square


def student_tail(t: Tensor, df: Tensor) -> Tensor:
    """P(T > t) of t >= 0 and df > 0; in float64, to 1e-14 of its value; broadcasts.

    Plain operations, differentiable in both.

    >>> round(student_tail(torch.tensor(1.0), torch.tensor(1.0)).item(), 14)  # a Cauchy's: 1 / 4
    0.25
    """
    t, df = t.double().clamp(max=_LARGEST), df.double()
    zero = torch.zeros_like(df)
    ratio = _relative_tail(t / torch.sqrt(df + t * t), df) / _relative_tail(zero, df)
    return ratio * torch.exp(-df / 2 * torch.log1p(t * t / df)) / 2


def _relative_tail(slope: Tensor, power: Tensor) -> Tensor:
    """The integral of cosh^-power over (s, infinity), over cosh(s)^-power; slope = tanh(s)."""
    # By parts, from a larger power, whose integrand is no longer flat.
    tail = _integral(slope, power + 2 * _SHIFTS)
    for k in reversed(range(_SHIFTS)):
        n = power + 2 * k
        tail = ((n + 1) * (1 - slope * slope) * tail + slope) / n
    return tail


def _integral(slope: Tensor, power: Tensor) -> Tensor:
    def integrand(r: Tensor) -> Tensor:
        # What cosh(s + r) / cosh(s) exceeds 1 by.
        growth = 2 * torch.sinh(r / 2).square() + slope * torch.sinh(r)
        return torch.exp(-power * torch.log1p(growth))

    # Where the integrand is e^-NATS: a quadratic equation in e^r.
    slope_there = slope.detach()
    growth = torch.expm1(_NATS / power.detach())
    more = growth * (growth + 2)
    root = torch.sqrt(more + slope_there.square())
    reach = torch.log1p((growth + more / (root + slope_there)) / (1 + slope_there))
    return integral(integrand, torch.zeros_like(reach), reach)
