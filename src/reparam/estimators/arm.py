"""ARM: two antithetic samples from one uniform."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.core import Draw, Estimator, surrogate_gradient
from reparam.families import bernoulli_logits, event_sum
from reparam.noise import Noise


@dataclass(frozen=True)
class Arm(Estimator):
    """(f(1[u > sigma(-phi)]) - f(1[u < sigma(phi)])) (u - 1/2), for Bernoulli logits phi.

    Yin & Zhou 2019, "ARM: Augment-REINFORCE-Merge Gradient for Stochastic Binary Networks",
    theorem 1, arXiv:1807.11143.

    Any cost; two evaluations for each of the n uniforms. Unbiased. `Disarm` has the same
    interface and never more variance.

    Use it for comparison with the literature; `Disarm` is better.

    >>> from torch.distributions import Bernoulli
    >>> Arm().draw(Bernoulli(logits=torch.zeros(5)), n=3).points.shape
    torch.Size([6, 5])
    """

    unbiased = True
    exact = False
    pathwise = False
    black_box = True

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        logits = bernoulli_logits(q)
        phi = logits.detach()
        u = noise.uniform(n, phi)
        points = torch.cat([u > torch.sigmoid(-phi), u < torch.sigmoid(phi)]).to(phi.dtype)

        def combine(costs: Tensor) -> Tensor:
            first, second = costs.detach().chunk(2)
            per_bit = (u - 0.5).to(phi.dtype) * logits
            gradient = (first - second) * event_sum(per_bit, q)
            return surrogate_gradient(costs.mean(0), gradient.mean(0))

        return Draw(points, combine)
