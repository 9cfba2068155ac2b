"""Score function: weight each log-probability by its cost."""

from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution

from reparam.baselines import Baseline
from reparam.control import alongside
from reparam.core import Draw, Estimator, surrogate
from reparam.families import scored_sample
from reparam.noise import Noise


@dataclass(frozen=True)
class Score(Estimator):
    """(f(z) - b) grad log q(z): REINFORCE, for any q with a log-probability and any cost at all.

    Williams 1992, "Simple statistical gradient-following algorithms", Machine
    Learning 8, doi:10.1007/BF00992696.

    baseline: from `reparam.baselines`; a learned one is trained to predict the cost, by the same
    backward pass, through `parameters()`. Unbiased; derivatives of every order are.

    Use it for black boxes of which only one sample can be had; always with a baseline.

    >>> from torch.distributions import Bernoulli
    >>> from reparam.baselines import MovingAverage
    >>> d = Score(MovingAverage()).draw(Bernoulli(logits=torch.zeros(2)), n=8)
    >>> d.combine((d.points - 0.45) ** 2).shape
    torch.Size([2])
    """

    baseline: Baseline | None = None

    unbiased = True
    exact = False
    pathwise = False
    black_box = True

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        points, log_prob = scored_sample(q, n, noise)

        def combine(costs: Tensor) -> Tensor:
            log_p = log_prob()
            if self.baseline is None:
                return surrogate(costs, log_p).mean(0)
            b = self.baseline(costs.detach(), q)
            value = surrogate(costs, log_p, b.detach()).mean(0)
            return (
                alongside(value, (costs.detach() - b).square().mean(0))
                if b.requires_grad
                else value
            )

        return Draw(points, combine)
