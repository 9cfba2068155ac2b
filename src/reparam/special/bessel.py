"""Modified Bessel functions of the first kind, of real order, in log space."""

from collections.abc import Iterator
from fractions import Fraction
from math import log, pi

import torch
from torch import Tensor

_FULL = 16, 12
"""Orders to come down, and terms of the expansion there: to 1e-13."""

_SINGLE = 8, 4
"""To 1e-7 of 1 - I_{v+1} / I_v."""


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


_U = _debye(_FULL[1])


def log_bessel_and_quotient(order: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """log(I_v(x) / x^v) - x and I_{v+1}(x) / (x I_v(x)) of order v >= 0 at x >= 0.

    Finite at 0, and for large v and x. In float64, to 1e-13; differentiable in x, the first with
    the derivative I_{v+1}(x) / I_v(x) - 1.

    >>> log_i, quotient = log_bessel_and_quotient(0.0, torch.zeros(()))
    >>> round(log_i.item(), 9), quotient.item()
    (0.0, 0.5)
    """
    v, x = order + _FULL[0], x.double()
    s = torch.sqrt(v * v + x * x)
    log_i = v * v / (s + x) - v * (v + s).log() - (log(2 * pi) + s.log()) / 2
    log_i = log_i + _series(v, s, _FULL[1]).log()
    for quotient in _quotients(order, x, *_FULL):
        log_i = log_i - quotient.log()
    return log_i, quotient


def bessel_quotient(order: float, x: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """I_{v+1}(x) / (x I_v(x)) of order v >= 0 at x >= 0: in float64, to the digits of the dtype.

    >>> bessel_quotient(0.0, torch.zeros(())).item()
    0.5
    """
    *_, quotient = _quotients(order, x.double(), *(_FULL if dtype == torch.float64 else _SINGLE))
    return quotient


def _quotients(order: float, x: Tensor, shift: int, terms: int) -> Iterator[Tensor]:
    """The quotients of the orders from v + shift - 1 down to v."""
    # From the expansion at a larger order, by recurrence downwards, which is stable.
    quotient, square = _expanded_quotient(order + shift, x, terms), x * x
    for k in reversed(range(1, shift + 1)):
        # I_{v-1} = I_{v+1} + (2 v / x) I_v, in I_v / x^v.
        quotient = (square * quotient).add_(2 * (order + k)).reciprocal_()
        yield quotient


def _expanded_quotient(v: float, x: Tensor, terms: int) -> Tensor:
    """At a large v, by Debye's expansion, https://dlmf.nist.gov/10.41.E3.

    It is uniform in x: U_k(t) / v^k, t = v / s, falls as (v^2 + x^2)^(-k/2).
    """
    s, next_s = torch.sqrt(v * v + x * x), torch.sqrt((v + 1) ** 2 + x * x)
    series, next_series = _series(v, s, terms), _series(v + 1, next_s, terms)
    # At v + 1 less that at v, term by term: large logarithms would lose digits.
    rise = (2 * v + 1) / (s + next_s)
    growth = rise - v * torch.log1p((1 + rise) / (v + s)) - torch.log1p((2 * v + 1) / (s * s)) / 4
    return growth.exp() * next_series / series / (v + 1 + next_s)


def _series(v: float, s: Tensor, terms: int) -> Tensor:
    t2 = (v / s).square()
    total = torch.zeros_like(s)
    for row in reversed(_U[:terms]):
        term = torch.full_like(s, row[-1])
        for c in reversed(row[:-1]):
            term = (term * t2).add_(c)
        total = (total / s).add_(term)
    return total
