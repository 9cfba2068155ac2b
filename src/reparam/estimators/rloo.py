"""REINFORCE with a leave-one-out baseline."""

from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution

from reparam.checks import check_count
from reparam.core import Draw, Estimator, surrogate
from reparam.families import scored_sample
from reparam.noise import Noise


@dataclass(frozen=True)
class Rloo(Estimator):
    """(1/n) sum_i (f_i - mean of the other f_j) grad log q(z_i), for n >= 2 samples.

    Kool et al. 2019, "Buy 4 REINFORCE Samples, Get a Baseline for Free!",
    openreview.net/forum?id=r1lgTGL5DE; Salimans & Knowles 2014, arXiv:1401.1022.

    Any q with a log-probability and any cost at all; nothing to tune. Unbiased.

    Use it first for any black box, and wherever an unbiased answer is wanted without tuning.

    >>> from torch.distributions import Bernoulli
    >>> d = Rloo().draw(Bernoulli(logits=torch.zeros(2)), n=8)
    >>> d.combine((d.points - 0.45) ** 2).shape
    torch.Size([2])
    """

    unbiased = True
    exact = False
    pathwise = False
    black_box = True

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        check_count("n: Rloo compares samples with each other", n, least=2)
        points, log_prob = scored_sample(q, n, noise)

        def combine(costs: Tensor) -> Tensor:
            detached = costs.detach()
            others = (detached.sum(0) - detached) / (n - 1)
            return surrogate(costs, log_prob(), others).mean(0)

        return Draw(points, combine)
