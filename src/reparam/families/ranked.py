"""Subsets and rankings: the k largest perturbed logits, as a set or in order."""

import torch
from torch import Tensor

from reparam.checks import working_dtype
from reparam.distributions import PlackettLuce, Subset
from reparam.distributions.without_replacement import log_remaining
from reparam.families.base import Family, family
from reparam.functional import soft_sort, soft_topk
from reparam.noise import Noise


class RankedFamily(Family):
    """The k largest of logits + G; their trace is their order, indices `(n, *batch, k)`."""

    def __init__(self, q: Subset | PlackettLuce) -> None:
        self.q = q
        self.logits: Tensor = q.logits

    def perturb(self, n: int, noise: Noise) -> Tensor:
        return self.logits + noise.gumbel(n, self.logits)

    def hard(self, z: Tensor) -> Tensor:
        return self.outcome(self.trace(z))

    def trace(self, z: Tensor) -> Tensor:
        return z.detach().topk(self.q.k).indices

    def outcome(self, trace: Tensor) -> Tensor:
        return self.q.arranged(trace)

    def trace_log_prob(self, trace: Tensor) -> Tensor:
        return self.q.ordered_log_prob(trace)

    def condition(self, trace: Tensor, noise: Noise) -> Tensor:
        # z = -log of an arrival time: the class of weight w arrives after an Exponential(w) time.
        # Given the order, what passes between arrivals is Exponential in the weight that remains,
        # and those not chosen come as much later than the k-th as if they had started then. Top
        # down, these are truncated Gumbels (Maddison et al. 2014; Kool et al. 2019).
        logits = self.logits.to(working_dtype(self.logits.dtype))
        log_e = -noise.gumbel(trace.shape[0], self.logits)
        waits = log_e.gather(-1, trace) - log_remaining(logits, trace)
        chosen = _strictly_decreasing(-_log_cumulative(waits))
        last = chosen[..., -1:]
        # An impossible class stays at -inf; its 0 keeps the gradient of logaddexp finite.
        impossible = logits == -torch.inf
        others = -torch.logaddexp(log_e - logits.masked_fill(impossible, 0), -last)
        others = torch.where(others < last, others, _below(last)).masked_fill(
            impossible, -torch.inf
        )
        return others.scatter(-1, trace, chosen)

    def support(self) -> Tensor:
        points = self.q.enumerate_support(expand=False)
        return points.reshape(-1, *self.q.event_shape)


class SubsetFamily(RankedFamily):
    """k-hot points, and the soft top-k."""

    q: Subset

    def soft(self, z: Tensor, tau: float | Tensor) -> Tensor:
        return soft_topk(z, self.q.k, tau).to(self.logits.dtype)

    def log_prob(self, points: Tensor) -> Tensor:
        return self.q.unordered_log_prob(points.topk(self.q.k).indices)


class PlackettLuceFamily(RankedFamily):
    """Rows one-hot, and those of the soft sort."""

    def soft(self, z: Tensor, tau: float | Tensor) -> Tensor:
        return soft_sort(z, tau)[..., : self.q.k, :].to(self.logits.dtype)

    def log_prob(self, points: Tensor) -> Tensor:
        return self.q.ordered_log_prob(points.argmax(-1))


def _log_cumulative(x: Tensor) -> Tensor:
    """log of the running sums of e^x along the last dimension, each summed anew.

    torch's logcumsumexp loses its gradient's digits where the x lie far apart.
    """
    k = x.shape[-1]
    later = torch.ones(k, k, dtype=torch.bool, device=x.device).triu(1)
    return x.unsqueeze(-2).expand(*x.shape, k).masked_fill(later, -torch.inf).logsumexp(-1)


def _strictly_decreasing(z: Tensor) -> Tensor:
    """z, where rounding made neighbours along the last dimension equal: told apart again."""
    columns = list(z.unbind(-1))
    for j in range(1, len(columns)):
        before = columns[j - 1]
        columns[j] = torch.where(columns[j] < before, columns[j], _below(before))
    return torch.stack(columns, -1)


def _below(x: Tensor) -> Tensor:
    return torch.nextafter(x.detach(), x.new_tensor(-torch.inf))


family.register(Subset, SubsetFamily)
family.register(PlackettLuce, PlackettLuceFamily)
