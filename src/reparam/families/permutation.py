"""Permutations: perturbed scores, matched or balanced."""

import torch
from torch import Tensor

from reparam.checks import working_dtype
from reparam.distributions import Permutation
from reparam.families.base import Family, family
from reparam.functional import matching, sinkhorn
from reparam.noise import Noise

ITERATIONS = 100  # at tau = 0.1 and n = 10, 20 leave row sums a third from 1, and these a fiftieth


class PermutationFamily(Family):
    """The best matching of logits + G; its trace is all of z, whose density stands for the law."""

    tractable = False

    def __init__(self, q: Permutation) -> None:
        self.q = q
        self.logits: Tensor = q.logits

    def perturb(self, n: int, noise: Noise) -> Tensor:
        return self.logits + noise.gumbel(n, self.logits)

    def hard(self, z: Tensor) -> Tensor:
        return matching(z).to(self.logits.dtype)

    def soft(self, z: Tensor, tau: float | Tensor) -> Tensor:
        return sinkhorn(z, tau, ITERATIONS)[0].to(self.logits.dtype)

    def trace(self, z: Tensor) -> Tensor:
        return z.detach()

    def outcome(self, trace: Tensor) -> Tensor:
        return self.hard(trace)

    def trace_log_prob(self, trace: Tensor) -> Tensor:
        logits = self.logits.to(working_dtype(self.logits.dtype))
        # An impossible pair is at -inf whatever its noise, which then has no say.
        impossible = logits == -torch.inf
        gumbel = (trace - logits.masked_fill(impossible, 0)).masked_fill(impossible, 0)
        return -(gumbel + torch.exp(-gumbel)).sum((-2, -1))

    def condition(self, trace: Tensor, noise: Noise) -> Tensor:
        return trace

    def log_prob(self, points: Tensor) -> Tensor:
        return self.q.log_prob(points)

    def support(self) -> Tensor:
        return self.q.enumerate_support(expand=False).reshape(-1, *self.q.event_shape)


family.register(Permutation, PermutationFamily)
