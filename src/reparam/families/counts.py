"""Counts: Poisson, binomial and negative binomial from given uniforms, through their CDF."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Binomial, Distribution, NegativeBinomial, Poisson

from reparam.noise import Noise

TAIL = 1e-15


def is_count(q: Distribution) -> bool:
    """Whether q is one of the count distributions."""
    return isinstance(q, (Poisson, Binomial, NegativeBinomial))


def counts_from_uniforms(q: Distribution, n: int, noise: Noise) -> Tensor:
    """The u-quantiles of q for given uniforms `(n, *batch)`, in q's dtype.

    The CDF is summed until what is left is below 1e-15 in every row: meant for tests and
    common random numbers, not for means in the millions.
    """
    u = noise.uniform(n, q.mean).double()
    total = torch.zeros_like(q.mean, dtype=torch.float64)
    points = torch.zeros_like(u)
    largest = u.max() if u.numel() else torch.zeros(())
    k = torch.zeros_like(q.mean)
    # Stop once every uniform is covered, or the sum is 1 up to rounding.
    while bool((total < torch.clamp(largest, max=1 - TAIL)).any()):
        total = total + _pmf(q, k).double()
        points = points + (u > total)
        k = k + 1
        if isinstance(q, Binomial) and bool((k > q.total_count).all()):
            break
    return points.to(q.mean.dtype)


def _pmf(q: Any, k: Tensor) -> Tensor:
    """q(k), 0 beyond the trials of a Binomial."""
    trials = q.total_count if isinstance(q, Binomial) else k
    mass: Tensor = q.log_prob(torch.minimum(k, trials)).exp()
    return torch.where(k <= trials, mass, 0)
