"""FINI: derivatives of counts by finite differences of low order."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import Tensor
from torch.distributions import Binomial, Distribution, NegativeBinomial, Poisson

from reparam.core import Draw, Estimator, average
from reparam.families import describe, sample, unwrapped
from reparam.noise import Noise


@dataclass(frozen=True)
class Fini(Estimator):
    """Z ~ q forward; backward w(Z) d a, a the natural parameter, w fitted to moments up to `order`.

    He & Wu 2026, the surrogate z + sg(w) (a - sg a) for counts.

    Serves Poisson (a = log rate), Binomial (a = logit p) and, at order 2, NegativeBinomial (logit p
    and log r), or Independent over one. Unbiased for costs that are polynomials up to the order
    in each count, biased beyond; one evaluation of a differentiable cost.

    Use it for count latents under a smooth differentiable cost.

    >>> from torch.distributions import Poisson
    >>> Fini().draw(Poisson(torch.full((4,), 3.0)), n=2).points.shape
    torch.Size([2, 4])
    """

    order: int = 2

    unbiased = False
    exact = False
    pathwise = True
    black_box = False

    def __post_init__(self) -> None:
        if self.order not in (2, 3):
            raise ValueError(f"order: expected 2 or 3, got {self.order}")

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        base = unwrapped(q)
        terms = _terms(base, self.order)
        z = sample(q, n, noise)
        with torch.no_grad():
            weighted = [(w(z), a) for w, a in terms]
        points = z + sum(w * (a - a.detach()) for w, a in weighted)
        return Draw(points, average)


Terms = list[tuple[Callable[[Tensor], Tensor], Tensor]]


@singledispatch
def _terms(q: Distribution, order: int) -> Terms:
    """Pairs of w(z) and the parameter a that it belongs to."""
    raise TypeError(
        f"q: expected Poisson, Binomial or NegativeBinomial, got {describe(q)}; 'score' and 'rloo' "
        "serve every distribution"
    )


@_terms.register
def _(q: Poisson, order: int) -> Terms:
    rate = q.rate
    if order == 2:
        return [(lambda z: (z + rate) / 2, rate.log())]
    return [
        (
            lambda z: 5 * rate / 12 + (8 * rate + 1) * z / (12 * rate) - z.square() / (12 * rate),
            rate.log(),
        )
    ]


@_terms.register
def _(q: Binomial, order: int) -> Terms:
    n, p = q.total_count, torch.sigmoid(q.logits)
    fail = torch.sigmoid(-q.logits)
    if order == 2:
        return [(lambda x: (n * p + (1 - 2 * p) * x) / 2, q.logits)]
    if bool((n < 2).any()):
        raise TypeError("q: expected a Binomial of 2 trials or more, got one of 1; use order=2")
    scale = 12 * (n - 1) * p * fail
    slope = (1 - 2 * p) / 2 + (2 * n * p + 1 - 2 * p) / scale
    constant = n * p * (5 - 6 * p) / (12 * fail)
    return [(lambda x: constant + slope * x - x.square() / scale, q.logits)]


@_terms.register
def _(q: NegativeBinomial, order: int) -> Terms:
    if order == 3:
        raise TypeError("q: expected Poisson or Binomial, got NegativeBinomial; use order=2")
    r, p = q.total_count, torch.sigmoid(q.logits)
    fail = torch.sigmoid(-q.logits)
    return [
        (lambda x: (r * p + (1 + p) * x) / 2, q.logits),
        (lambda x: r * p / (2 * fail) + x / 2, r.log()),
    ]
