"""Straight-through: a hard sample forward, the tempered probabilities backward."""

from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution

from reparam.checks import check_tau
from reparam.core import Draw, Estimator, average
from reparam.families import family
from reparam.functional import straight_through
from reparam.noise import Noise


@dataclass(frozen=True)
class StraightThrough(Estimator):
    """D ~ q forward, the gradient of softmax(logits / tau) backward.

    Bengio et al. 2013, "Estimating or Propagating Gradients Through Stochastic Neurons",
    arXiv:1308.3432.

    The value is unbiased; the gradient is so only for costs linear in the points, at tau = 1.
    tau: as in `GumbelSoftmax`.

    Use it as the plainest baseline for hard discrete latents.

    >>> from torch.distributions import Bernoulli
    >>> logit = torch.zeros((), requires_grad=True)
    >>> StraightThrough().draw(Bernoulli(logits=logit)).points.sum().backward()
    >>> logit.grad.item()
    0.25
    """

    tau: float | Tensor = 1.0

    unbiased = False
    exact = False
    pathwise = True
    black_box = False

    def __post_init__(self) -> None:
        check_tau(self.tau)

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        f = family(q)
        hard = f.hard(f.perturb(n, noise))
        return Draw(straight_through(hard, f.soft(f.logits, self.tau).expand_as(hard)), average)
