"""Enumerate: the exact sum over the support."""

from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution

from reparam.core import Draw, Estimator
from reparam.families import log_prob, support
from reparam.noise import Noise


@dataclass(frozen=True)
class Enumerate(Estimator):
    """sum over z of q(z) f(z): no sampling, no variance, one cost per outcome.

    The expectation, by definition.

    The oracle of the test-suite, and the best estimator wherever the support is small. n and the
    noise are not needed and have no influence. `Independent` multiplies supports: 20 bits are
    2^20 points.

    Use it wherever the support is small: nothing is better.

    >>> from torch.distributions import OneHotCategorical
    >>> d = Enumerate().draw(OneHotCategorical(probs=torch.tensor([0.25, 0.75])))
    >>> round(d.combine(d.points[:, 1]).item(), 6)
    0.75
    """

    unbiased = True
    exact = True
    pathwise = False
    black_box = True

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        points = support(q)

        def combine(costs: Tensor) -> Tensor:
            return (log_prob(q, points).exp().to(costs.dtype) * costs).sum(0)

        return Draw(points, combine)
