"""Straight-through Gumbel-Softmax: a hard sample forward, the relaxed one backward."""

from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution

from reparam.checks import check_tau
from reparam.core import Draw, Estimator, average
from reparam.families import family
from reparam.noise import Noise


@dataclass(frozen=True)
class StraightThroughGumbelSoftmax(Estimator):
    """onehot(argmax(logits + G)) forward, the gradient of softmax((logits + G) / tau) backward.

    Jang et al. 2017, "Categorical Reparameterization with Gumbel-Softmax", section 2.2,
    arXiv:1611.01144.

    The value is unbiased. The gradient is not: as tau -> 0 its bias tends to that of a trapezoid
    rule, zero for quadratic costs only. tau: as in `GumbelSoftmax`.

    Use it as the default for discrete latents under a differentiable decoder: it trains on what is
    deployed.

    >>> from torch.distributions import OneHotCategorical
    >>> q = OneHotCategorical(logits=torch.zeros(3))
    >>> StraightThroughGumbelSoftmax().draw(q, n=2).points.sum(-1).tolist()
    [1.0, 1.0]
    """

    tau: float | Tensor = 1.0

    unbiased = False
    exact = False
    pathwise = True
    black_box = False
    anneals = ("tau",)

    def __post_init__(self) -> None:
        check_tau(self.tau)

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        return Draw(family(q).relax(n, self.tau, noise, hard=True), average)
