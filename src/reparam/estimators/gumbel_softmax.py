"""Gumbel-Softmax: a relaxed sample instead of a hard one."""

from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution

from reparam.checks import check_tau
from reparam.core import Draw, Estimator, average
from reparam.families import family
from reparam.noise import Noise


@dataclass(frozen=True)
class GumbelSoftmax(Estimator):
    """y = softmax((logits + G) / tau); for Bernoulli, sigmoid((logit + L) / tau).

    Jang et al. 2017, "Categorical Reparameterization with Gumbel-Softmax", equation 2,
    arXiv:1611.01144; Maddison et al. 2017, "The Concrete Distribution", arXiv:1611.00712.

    The cost is evaluated at relaxed points, so its *value* is biased as well as its gradient;
    both biases vanish as tau -> 0, where the variance grows as 1/tau. tau: temperature >= 0, a
    float or a tensor that broadcasts against the batch shape of the logits.

    Use it where the model can work with relaxed inputs and will be annealed or made hard later;
    else a straight-through estimator.

    >>> from torch.distributions import OneHotCategorical
    >>> d = GumbelSoftmax(tau=0.5).draw(OneHotCategorical(logits=torch.zeros(3)), n=4)
    >>> d.points.shape, bool((d.points.sum(-1) - 1).abs().max() < 1e-6)
    (torch.Size([4, 3]), True)
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
        return Draw(family(q).relax(n, self.tau, noise, hard=False), average)
