"""ReinMax: straight-through of second order, by Heun's method."""

from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution

from reparam.checks import check_tau
from reparam.core import Draw, Estimator, average
from reparam.families import classes, family, zero_carrying
from reparam.functional import soft_argmax, straight_through
from reparam.noise import Noise


@dataclass(frozen=True)
class ReinMax(Estimator):
    """D ~ q forward; backward 2 J((softmax(logits / tau) + D) / 2) - J(softmax(logits)) / 2.

    Liu et al. 2023, "Bridging Discrete and Backpropagation: Straight-Through and Beyond",
    arXiv:2304.08612.

    J(p) = diag(p) - p p^T is the softmax Jacobian. At tau = 1 exactly unbiased for every quadratic
    cost, biased beyond. One cost evaluation. tau: as in `GumbelSoftmax`; 1 or a little more.

    Use it for hard discrete latents under costs that are nearly quadratic in the points.

    >>> from torch.distributions import OneHotCategorical
    >>> ReinMax().draw(OneHotCategorical(logits=torch.zeros(3)), n=2).points.sum(-1).tolist()
    [1.0, 1.0]
    """

    tau: float | Tensor = 1.0

    unbiased = False
    exact = False
    pathwise = True
    black_box = False

    def __post_init__(self) -> None:
        check_tau(self.tau)

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        f, c = family(q), classes(q)
        hard = f.hard(f.perturb(n, noise))
        logits = c.logits.detach()
        middle = (soft_argmax(logits, self.tau) + c.to_onehot(hard)) / 2
        carried = zero_carrying(c.logits)
        # softmax(log p + 0) is p, with Jacobian J(p) with respect to what the zero carries.
        soft = 2 * soft_argmax(middle.log() + carried, 1.0) - soft_argmax(logits + carried, 1.0) / 2
        return Draw(straight_through(hard, c.from_onehot(soft).to(hard.dtype)), average)
