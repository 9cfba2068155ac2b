"""Measure-valued: the derivative of a density as a difference of two densities."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch
from itertools import product
from math import pi, sqrt
from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Distribution,
    Exponential,
    Normal,
    OneHotCategorical,
    Poisson,
)

from reparam.core import Draw, Estimator, surrogate_gradient
from reparam.families import describe, sample, unwrapped
from reparam.noise import Noise


@dataclass(frozen=True)
class MeasureValued(Estimator):
    """c E_{q+}[f] - c E_{q-}[f] for each parameter, where c (q+ - q-) is the derivative of q in it.

    Mohamed et al. 2020, "Monte Carlo Gradient Estimation in Machine Learning", section 6,
    arXiv:1906.10652; Pflug 1989.

    Serves Normal, Exponential, Poisson, Bernoulli, OneHotCategorical, or Independent over one. Any
    cost. Each coordinate of a point is moved by itself while the others stay: P is n times 1 plus,
    for each coordinate, 4 (Normal), 2 (Exponential, Poisson, Bernoulli) or K points. Unbiased,
    of low variance. noise: `(1 + parts, n, *batch, *event)`, the first for the points that the
    others are moved from; parts is 4 for Normal, 2 for Exponential, 1 for Poisson, else 0.

    Use it for few parameters under a black-box cost that may be evaluated often.

    >>> from torch.distributions import Normal
    >>> MeasureValued().draw(Normal(torch.zeros(3), 1.0), n=2).points.shape
    torch.Size([10, 3])
    """

    unbiased = True
    exact = False
    pathwise = False
    black_box = True

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        base = unwrapped(q)
        coordinates = base.batch_shape[len(q.batch_shape) :]
        first, *others = noise.split(1 + _parts(base))
        z = sample(q, n, first)
        weights, moved = [], [z]
        for weight, atom in _measures(base, n, others):
            for index in product(*(range(size) for size in coordinates)):
                at: Any = (..., *index, *[slice(None)] * len(base.event_shape))
                point = z.clone()
                point[at] = atom[at]
                moved.append(point)
                each: Any = (..., *index)
                weights.append(weight[each])
        points = torch.cat(moved)

        def combine(costs: Tensor) -> Tensor:
            parts = costs.reshape(-1, n, *costs.shape[1:])
            gradient = (torch.stack(weights) * parts[1:].detach()).sum(0)
            return surrogate_gradient(parts[0].mean(0), gradient.mean(0))

        return Draw(points, combine)


Measure = tuple[Tensor, Tensor]


def _parts(q: Distribution) -> int:
    """How many sources of noise the measures of q take."""
    parts = {Normal: 4, Exponential: 2, Poisson: 1}
    return sum(count for kind, count in parts.items() if isinstance(q, kind))


@singledispatch
def _measures(q: Distribution, n: int, noise: list[Noise]) -> Iterator[Measure]:
    """Pairs of a weight, whose gradient is a signed constant c, and points of q+ or q-.

    Weights `(n, *batch)`, points `(n, *batch, *event)` of the base distribution.
    """
    raise TypeError(
        "q: expected Normal, Exponential, Poisson, Bernoulli or OneHotCategorical, got "
        f"{describe(q)}; 'score' and 'rloo' serve every distribution"
    )


@_measures.register
def _(q: Normal, n: int, noise: list[Noise]) -> Iterator[Measure]:
    loc, scale = q.loc.detach(), q.scale.detach()
    # Mean: one-sided Rayleigh deviations, the same on both sides.
    rayleigh = (2 * noise[0].exponential(n, loc)).sqrt().to(loc.dtype)
    weight = (q.loc / (scale * sqrt(2 * pi))).expand_as(rayleigh)
    yield weight, loc + scale * rayleigh
    yield -weight, loc - scale * rayleigh
    # Scale: double-sided Maxwell, coupled to the Normal as its product with a uniform. Its square
    # is chi-squared with 3 degrees of freedom: 2 from an exponential, 1 from a normal.
    normal = noise[2].normal(n, loc)
    length = (2 * noise[1].exponential(n, loc) + normal.square()).sqrt()
    maxwell = torch.copysign(length, normal).to(loc.dtype)
    weight = (q.scale / scale).expand_as(maxwell)
    yield weight, loc + scale * maxwell
    yield -weight, loc + scale * maxwell * noise[3].uniform(n, loc).to(loc.dtype)


@_measures.register
def _(q: Exponential, n: int, noise: list[Noise]) -> Iterator[Measure]:
    rate = q.rate.detach()
    first, second = (part.exponential(n, rate).to(rate.dtype) for part in noise)
    weight = (q.rate / rate).expand_as(first)
    yield weight, first / rate
    # Erlang(2): one more waiting time on top of the same first.
    yield -weight, (first + second) / rate


@_measures.register
def _(q: Poisson, n: int, noise: list[Noise]) -> Iterator[Measure]:
    count = sample(q, n, noise[0])
    weight = q.rate.expand_as(count)
    yield weight, count + 1
    yield -weight, count


@_measures.register
def _(q: Bernoulli, n: int, noise: list[Noise]) -> Iterator[Measure]:
    zeros = q.logits.new_zeros(n, *q.batch_shape)
    yield torch.sigmoid(q.logits).expand_as(zeros), zeros + 1
    yield torch.sigmoid(-q.logits).expand_as(zeros), zeros


@_measures.register
def _(q: OneHotCategorical, n: int, noise: list[Noise]) -> Iterator[Measure]:
    p = torch.softmax(q.logits, -1).expand(n, *q.logits.shape)
    for k in range(p.shape[-1]):
        atom = torch.zeros_like(p)
        atom[..., k] = 1
        yield p[..., k], atom
