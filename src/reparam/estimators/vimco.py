"""VIMCO: the multi-sample bound, with leave-one-out baselines."""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.checks import check_count, working_dtype
from reparam.core import Draw, Estimator, surrogate_gradient
from reparam.families import scored_sample
from reparam.noise import Noise


@dataclass(frozen=True)
class Vimco(Estimator):
    """sum_i (L - L_-i) grad log q(z_i) for the bound L = log (1/n) sum_i exp f(z_i), n >= 2.

    Mnih & Rezende 2016, "Variational Inference for Monte Carlo Objectives",
    arXiv:1602.06725.

    `combine` estimates E[L], not E[f]: costs are log-weights, log p(x, z) - log q(z|x) for the
    importance-weighted bound, to be maximized. L_-i puts in the place of f_i the mean of the
    others (the geometric mean of their weights). Any q with a log-probability; unbiased for L.

    Use it to train discrete latents on the importance-weighted bound.

    >>> from torch.distributions import Bernoulli
    >>> d = Vimco().draw(Bernoulli(logits=torch.zeros(2)), n=4)
    >>> d.combine(d.points).shape
    torch.Size([2])
    """

    unbiased = True
    exact = False
    pathwise = False
    black_box = True
    multisample = True

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        check_count("n: Vimco compares samples with each other", n, least=2)
        points, log_prob = scored_sample(q, n, noise)

        def combine(costs: Tensor) -> Tensor:
            bound = torch.logsumexp(costs, 0) - log(n)
            # Differences of bounds: half precision would round them to nothing.
            f = costs.detach().to(working_dtype(costs.dtype))
            signal = torch.logsumexp(f, 0) - log(n) - _without_each(f)
            return surrogate_gradient(bound, (signal * log_prob()).sum(0))

        return Draw(points, combine)


def _without_each(f: Tensor) -> Tensor:
    """L_-i for every i: `(n, *batch)`."""
    n = len(f)
    others = (f.sum(0) - f) / (n - 1)
    replaced = f.unsqueeze(0).expand(n, *f.shape).clone()
    index = torch.arange(n, device=f.device)
    replaced[index, index] = others
    return torch.logsumexp(replaced, 1) - log(n)
