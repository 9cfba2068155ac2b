"""Double control variates: leave-one-out, with each sample linearized at the other."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from reparam.checks import check_finite
from reparam.control import derivative, steered
from reparam.core import Draw, Estimator, surrogate_gradient
from reparam.families import bernoulli_logits, event_sum, sample
from reparam.noise import Noise


@dataclass(frozen=True)
class DoubleCv(Estimator):
    """Two-sample leave-one-out whose costs have their linearizations subtracted, for Bernoulli q.

    Titsias & Shi 2022, "Double Control Variates for Gradient Estimation in Discrete Latent
    Variable Models", arXiv:2111.05300.

    (1/2) (f_1 + a g_2.(b_1 - p) - f_2 - a g_1.(b_2 - p)) ((b_1 - p) - (b_2 - p))
    - a (g_1 + g_2) p (1 - p) / 2, with g_k the gradient of f at b_k: two evaluations and two
    derivatives of the cost for each of the n pairs. a starts at `alpha` and is trained on the
    squared gradient, through `parameters()`. Unbiased at every a. noise: `(2, n, *batch, *event)`.

    Use it for many Bernoulli latents under one differentiable cost.

    >>> from torch.distributions import Bernoulli
    >>> DoubleCv().draw(Bernoulli(logits=torch.zeros(5)), n=3).points.shape
    torch.Size([6, 5])
    """

    alpha: float = field(default=0.0, metadata={"learned": True})
    control: nn.ParameterDict = field(init=False, repr=False, compare=False)

    unbiased = True
    exact = False
    pathwise = False
    black_box = False
    differentiates = True

    def __post_init__(self) -> None:
        check_finite("alpha", self.alpha)
        control = nn.ParameterDict({"alpha": torch.tensor(float(self.alpha))})
        object.__setattr__(self, "control", control)

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        logits = bernoulli_logits(q)
        p = torch.sigmoid(logits.detach())
        bits = [sample(q, n, part) for part in noise.split(2)]
        points = torch.cat(bits).requires_grad_()
        s1, s2 = (b - p for b in bits)

        def combine(costs: Tensor) -> Tensor:
            alpha = self.control["alpha"].to(costs.dtype)
            g1, g2 = derivative(costs, points).chunk(2)
            f1, f2 = costs.detach().chunk(2)
            difference = f1 - f2 + alpha * (event_sum(g2 * s1, q) - event_sum(g1 * s2, q))
            pair = _beside_event(difference, q) * (s1 - s2)
            estimate = ((pair - alpha * (g1 + g2) * p * (1 - p)) / 2).mean(0)
            value = surrogate_gradient(costs.mean(0), event_sum(estimate.detach() * logits, q))
            return steered(value, event_sum(estimate.square(), q), list(self.parameters()))

        return Draw(points, combine)


def _beside_event(values: Tensor, q: Distribution) -> Tensor:
    return values.reshape(*values.shape, *[1] * len(q.event_shape))
