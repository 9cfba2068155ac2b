"""Sum and sample: the likeliest outcomes exactly, the rest by sampling."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.checks import check_count
from reparam.core import Draw, Estimator, surrogate
from reparam.families import log_prob, pick, support
from reparam.functional import index_samples
from reparam.noise import Noise


@dataclass(frozen=True)
class SumAndSample(Estimator):
    """sum over the k likeliest z of q(z) f(z), plus the rest's share times f(z) grad log q(z).

    Liu et al. 2019, "Rao-Blackwellized Stochastic Gradients for Discrete Distributions",
    arXiv:1810.04777.

    For supports that can be enumerated; any cost, at k + n points. Unbiased, with less variance
    the more mass the k outcomes hold; with the whole support among them, `Enumerate`.
    noise: `(n, *batch, S)`, for the S outcomes.

    Use it where a few outcomes hold most of the mass.

    >>> from torch.distributions import OneHotCategorical
    >>> SumAndSample(k=2).draw(OneHotCategorical(logits=torch.zeros(5)), n=3).points.shape
    torch.Size([5, 5])
    """

    k: int = 1

    unbiased = True
    exact = False
    pathwise = False
    black_box = True

    def __post_init__(self) -> None:
        check_count("k", self.k)

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        outcomes = support(q)
        k = min(self.k, len(outcomes))
        log_p = log_prob(q, outcomes).detach().movedim(0, -1)
        top = log_p.topk(k).indices
        rest = log_p.scatter(-1, top, -torch.inf)
        # Where nothing is left, the share is zero and any outcome stands for the rest.
        rest_share = rest.exp().sum(-1)
        nothing = (rest_share == 0).unsqueeze(-1)
        drawn = index_samples(rest.masked_fill(nothing, 0.0), n, noise)
        points = pick(outcomes, torch.cat([top.movedim(-1, 0), drawn]))

        def combine(costs: Tensor) -> Tensor:
            each = log_prob(q, points)
            summed = (each[:k].exp().to(costs.dtype) * costs[:k]).sum(0)
            sampled = surrogate(costs[k:], each[k:]).mean(0)
            return summed + rest_share.to(costs.dtype) * sampled

        return Draw(points, combine)
