"""Bernoulli: points 0 and 1, logistic noise."""

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution
from torch.nn.functional import logsigmoid, softplus

from reparam.checks import working_dtype
from reparam.families.base import Family, describe, family
from reparam.families.independent import unwrapped
from reparam.functional import soft_step
from reparam.noise import Noise


class BernoulliFamily(Family):
    """b = 1[logit + L > 0], L ~ Logistic(0, 1); event shape ()."""

    def __init__(self, q: Bernoulli) -> None:
        self.logits: Tensor = q.logits

    def perturb(self, n: int, noise: Noise) -> Tensor:
        return self.logits + noise.logistic(n, self.logits)

    def hard(self, z: Tensor) -> Tensor:
        return (z > 0).to(self.logits.dtype)

    def soft(self, z: Tensor, tau: float | Tensor) -> Tensor:
        return soft_step(z, tau).to(self.logits.dtype)

    def condition(self, trace: Tensor, noise: Noise) -> Tensor:
        # Tucker et al. 2017, written with softplus so that no probability is formed.
        sign = 2 * trace.detach() - 1
        logistic = noise.logistic(trace.shape[0], self.logits)
        size = softplus(logistic + softplus(sign * self.logits.to(logistic.dtype)))
        # A size that underflowed to 0 would change sides.
        return sign * size.clamp(min=torch.finfo(size.dtype).tiny)

    def log_prob(self, points: Tensor) -> Tensor:
        logits = self.logits.to(working_dtype(self.logits.dtype))
        return logsigmoid((2 * points - 1) * logits)

    def support(self) -> Tensor:
        return self.logits.new_tensor([0.0, 1.0])


family.register(Bernoulli, BernoulliFamily)


def bernoulli_logits(q: Distribution) -> Tensor:
    """The logits `(*batch, *event)` of a Bernoulli or of Independent over one."""
    base = unwrapped(q)
    if not isinstance(base, Bernoulli):
        raise TypeError(
            f"q: expected a Bernoulli, or Independent over one, got {describe(q)}; "
            "'rloo' serves every distribution, 'rebar' and 'relax' the categorical"
        )
    return base.logits
