"""Independent over a discrete distribution: its batch dimensions become parts of one point."""

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from reparam.checks import check_support
from reparam.families.base import Family, family
from reparam.noise import Noise


def unwrapped(q: Distribution) -> Distribution:
    """What q is, without the Independent around it."""
    return unwrapped(q.base_dist) if isinstance(q, Independent) else q


class IndependentFamily(Family):
    """The base family, with log-probabilities summed and supports multiplied over the event."""

    def __init__(self, q: "Independent[Distribution]") -> None:
        self.base = family(q.base_dist)
        self.logits = self.base.logits
        self.tractable = self.base.tractable
        self.dims: int = q.reinterpreted_batch_ndims
        self.parts = q.base_dist.batch_shape[len(q.batch_shape) :]

    def perturb(self, n: int, noise: Noise) -> Tensor:
        return self.base.perturb(n, noise)

    def hard(self, z: Tensor) -> Tensor:
        return self.base.hard(z)

    def soft(self, z: Tensor, tau: float | Tensor) -> Tensor:
        return self.base.soft(z, tau)

    def sample(self, n: int, noise: Noise) -> Tensor:
        return self.base.sample(n, noise)

    def relax(self, n: int, tau: float | Tensor, noise: Noise, *, hard: bool) -> Tensor:
        return self.base.relax(n, tau, noise, hard=hard)

    def trace(self, z: Tensor) -> Tensor:
        return self.base.trace(z)

    def outcome(self, trace: Tensor) -> Tensor:
        return self.base.outcome(trace)

    def trace_log_prob(self, trace: Tensor) -> Tensor:
        return self._summed(self.base.trace_log_prob(trace))

    def condition(self, trace: Tensor, noise: Noise) -> Tensor:
        return self.base.condition(trace, noise)

    def log_prob(self, points: Tensor) -> Tensor:
        return self._summed(self.base.log_prob(points))

    def _summed(self, each: Tensor) -> Tensor:
        return each.sum(tuple(range(-self.dims, 0))) if self.dims else each

    def support(self) -> Tensor:
        """Every combination of the parts' outcomes, the last part running fastest."""
        outcomes = self.base.support()
        number = self.parts.numel()
        check_support(len(outcomes) ** number)
        index = torch.arange(len(outcomes), device=outcomes.device)
        return outcomes[torch.cartesian_prod(*[index] * number).reshape(-1, *self.parts)]


family.register(Independent, IndependentFamily)
