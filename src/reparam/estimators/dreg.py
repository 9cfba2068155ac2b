"""DReG: the multi-sample bound, doubly reparameterized."""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.control import derivative
from reparam.core import Draw, Estimator, surrogate_gradient
from reparam.families import event_sum, log_prob, reparameterize
from reparam.noise import Noise


@dataclass(frozen=True)
class Dreg(Estimator):
    """sum_i w_i^2 (d f_i / d z_i) (d z_i / d phi), w = softmax(f), for L = log (1/n) sum exp f.

    Tucker et al. 2019, "Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives",
    arXiv:1810.04152.

    `combine` estimates E[L], not E[f]: costs are log-weights log p(x, z) - log q(z|x), written
    with q itself, to be maximized. Unlike the plain gradient of the bound, its signal-to-noise
    grows with n. For q with reparameterizable samples; unbiased for L. `combine` differentiates
    the costs, which `torch.func` transforms do not allow.

    Use it to train continuous latents on the importance-weighted bound with more than a few
    samples.

    >>> from torch.distributions import Normal
    >>> d = Dreg().draw(Normal(torch.zeros(2), 1.0), n=4)
    >>> d.combine(-d.points.square()).shape
    torch.Size([2])
    """

    unbiased = True
    exact = False
    pathwise = False
    black_box = False
    multisample = True
    differentiates = True

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        path = reparameterize(q, n, noise)
        points = path.detach().requires_grad_()

        def combine(costs: Tensor) -> Tensor:
            bound = torch.logsumexp(costs, 0) - log(n)
            weights = torch.softmax(costs.detach(), 0)
            slope = derivative(costs, points)
            through = weights.square() * event_sum(slope * path, q)
            # q's own density within the costs moves with phi too: this cancels its mean.
            score = weights * log_prob(q, points.detach())
            return surrogate_gradient(bound, (through + score).sum(0))

        return Draw(points, combine)
