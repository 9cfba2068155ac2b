"""What a problem is, and how its exact value and gradient are found."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.families import family, log_prob, support


@dataclass(frozen=True)
class Problem:
    """E_q[cost] and its gradients, exactly computable.

    params: parameters of q by name, each `(*batch, *own)`, float64 leaves.
    build: params -> q. It maps any further leading dimensions to leading batch dimensions of q,
        so that one call can evaluate q at many noises or rows at once.
    weight: the cost's own parameter, a float64 leaf.
    cost: points `(P, *batch, *event)`, weight -> `(P, *batch)`; smooth in both.
    integrate: a rule for E_q[g]: (q, g) -> `(*batch)`, by enumeration or quadrature.
    about: one line for people.
    """

    about: str
    params: dict[str, Tensor]
    build: Callable[[dict[str, Tensor]], Distribution]
    weight: Tensor
    cost: Callable[[Tensor, Tensor], Tensor]
    integrate: Callable[[Distribution, Callable[[Tensor], Tensor]], Tensor]
    discrete: bool

    def q(self) -> Distribution:
        """The distribution at the problem's own parameters."""
        return self.build(self.params)

    def exact(self) -> Tensor:
        """E_q[cost], `(*batch)`; differentiable in `params` and `weight`."""
        return self.integrate(self.q(), lambda points: self.cost(points, self.weight))


def by_enumeration(q: Distribution, g: Callable[[Tensor], Tensor]) -> Tensor:
    """sum over z of q(z) g(z)."""
    points = support(q)
    return (log_prob(q, points).exp() * g(points)).sum(0)


def by_matching(q: Distribution, g: Callable[[Tensor], Tensor]) -> Tensor:
    """sum over z of q(z) g(z), of a 2 x 2 Permutation.

    The identity wins where x + L1 + L2 > 0: x what its logits have more, L independent logistic,
    each the difference of two Gumbels. Their sum has a CDF in closed form, singular at x = 0 alone.
    """
    a = family(q).logits
    x = a[..., 0, 0] + a[..., 1, 1] - a[..., 0, 1] - a[..., 1, 0]
    chance = (torch.expm1(x) - x) * torch.exp(x) / torch.expm1(x).square()
    identity, swap = g(q.enumerate_support()).unbind(0)
    return chance * identity + (1 - chance) * swap


def by_counting(
    largest: int,
) -> Callable[[Distribution, Callable[[Tensor], Tensor]], Tensor]:
    """sum over z = 0 ... largest of q(z) g(z), for counts."""

    def integrate(q: Distribution, g: Callable[[Tensor], Tensor]) -> Tensor:
        points = torch.arange(largest + 1, dtype=torch.float64)
        points = points.reshape(-1, *[1] * len(q.batch_shape)).expand(-1, *q.batch_shape)
        return (log_prob(q, points).exp() * g(points)).sum(0)

    return integrate


def on_the_line(t: Tensor) -> tuple[Tensor, Tensor]:
    """Grid -> standard points on the real line, and their derivative."""
    return t, torch.ones_like(t)


def on_the_half_line(t: Tensor) -> tuple[Tensor, Tensor]:
    """Grid -> standard positive points, and their derivative; both tails decay doubly fast."""
    s = torch.exp(t - torch.exp(-t))
    return s, s * (1 + torch.exp(-t))


def by_quadrature(
    place: Callable[[Tensor], tuple[Tensor, Tensor]], step: float, reach: float = 9.0
) -> Callable[[Distribution, Callable[[Tensor], Tensor]], Tensor]:
    """A trapezoid rule for E_q[g] from q's density alone, which owes nothing to any sampler.

    The grid `[-reach, reach]` is placed by `place`, then scaled by q's standard deviation (and,
    on the whole line, moved to q's mean). The rule converges exponentially for analytic
    integrands: it is exact to rounding.
    """

    def integrate(q: Distribution, g: Callable[[Tensor], Tensor]) -> Tensor:
        dims, batch = q.event_shape.numel(), len(q.batch_shape)
        axis = torch.arange(-reach, reach + step / 2, step, dtype=torch.float64)
        grid = torch.cartesian_prod(*[axis] * dims)
        standard, slope = place(grid.reshape(-1, *[1] * batch, *q.event_shape))
        scale = q.stddev.detach()
        shift = q.mean.detach() if place is on_the_line else 0.0
        points = shift + scale * standard
        event = tuple(range(points.ndim - len(q.event_shape), points.ndim))
        volume = (scale * slope * step).prod(event[0]) if event else scale * slope * step
        return (q.log_prob(points).exp() * volume * g(points)).sum(0)

    return integrate
