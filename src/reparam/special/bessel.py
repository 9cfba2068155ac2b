"""Modified Bessel functions of the first kind, of real order, in log space."""

from fractions import Fraction
from math import log, pi

import torch
from torch import Tensor

_SHIFT = 16
_TERMS = 12


def _debye(terms: int) -> list[list[float]]:
    """U_k(t) / t^k as polynomials in t^2, by https://dlmf.nist.gov/10.41.E9."""
    u = [Fraction(1)]
    rows = [[1.0]]
    for k in range(1, terms):
        following = [Fraction(0)] * (3 * k + 1)
        for power, c in enumerate(u):
            following[power + 1] += c * (Fraction(power, 2) + Fraction(1, 8 * (power + 1)))
            following[power + 3] -= c * (Fraction(power, 2) + Fraction(5, 8 * (power + 3)))
        u = following
        rows.append([float(c) for c in u[k::2]])
    return rows


_U = _debye(_TERMS)


def log_bessel_and_quotient(order: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """log(I_v(x) / x^v) - x and I_{v+1}(x) / (x I_v(x)) of order v >= 0 at x >= 0.

    Finite at 0, and for large v and x. In float64, to 1e-13; differentiable in x, the first with
    the derivative I_{v+1}(x) / I_v(x) - 1.

    >>> log_i, quotient = log_bessel_and_quotient(0.0, torch.zeros(()))
    >>> round(log_i.item(), 9), quotient.item()
    (0.0, 0.5)
    """
    x = x.double()
    # From the expansion at a larger order, by recurrence downwards, which is stable.
    top = order + _SHIFT
    log_i, quotient = _expansion(top, x)
    for k in range(1, _SHIFT + 1):
        # I_{v-1} = I_{v+1} + (2 v / x) I_v, in I_v / x^v.
        quotient = 1 / (2 * (top - k + 1) + x * x * quotient)
        log_i = log_i - quotient.log()
    return log_i, quotient


def _expansion(v: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """Both functions at v >= 16 by Debye's expansion, https://dlmf.nist.gov/10.41.E3.

    It is uniform in x: U_k(t) / v^k, t = v / s, falls as (v^2 + x^2)^(-k/2).
    """
    s, next_s = torch.sqrt(v * v + x * x), torch.sqrt((v + 1) ** 2 + x * x)
    series, next_series = _series(v, s), _series(v + 1, next_s)
    log_i = v * v / (s + x) - v * (v + s).log() - (log(2 * pi) + s.log()) / 2 + series.log()
    # The same at v + 1 less this, term by term: large logarithms would lose digits.
    rise = (2 * v + 1) / (s + next_s)
    growth = rise - v * torch.log1p((1 + rise) / (v + s)) - torch.log1p((2 * v + 1) / (s * s)) / 4
    return log_i, growth.exp() * next_series / series / (v + 1 + next_s)


def _series(v: float, s: Tensor) -> Tensor:
    t2 = (v / s).square()
    total = torch.zeros_like(s)
    for row in reversed(_U):
        term = torch.zeros_like(s)
        for c in reversed(row):
            term = term * t2 + c
        total = total / s + term
    return total
