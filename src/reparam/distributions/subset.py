"""Subsets of k among n classes, drawn without replacement."""

from itertools import combinations
from math import comb
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from reparam.checks import working_dtype
from reparam.distributions.without_replacement import WithoutReplacement, divergence
from reparam.special.race import chances_among_first, log_chance_of_first


class _KHot(constraints.Constraint):
    """Vectors of k ones and zeros elsewhere."""

    is_discrete = True
    event_dim = 1

    def __init__(self, k: int) -> None:
        self.k = k
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == self.k)


class Subset(WithoutReplacement):
    """The set of the k largest of logits + G, G i.i.d. Gumbel(0, 1), as k-hot points `(n,)`.

    Sampling without replacement by the Gumbel-top-k trick: Kool et al. 2019, "Stochastic beams and
    where to find them", arXiv:1903.06059. A set's probability is the sum of those of its k! orders,
    computed as an integral over one variable: Kool et al. 2020, arXiv:2002.06043.

    k: how many classes. logits: `(*batch, n)`, log-weights; -inf excludes a class, and every row
    must allow k.

    >>> q = Subset(2, torch.tensor([0.0, 0.0, 0.0, float("-inf")]))
    >>> q.mean
    tensor([0.6667, 0.6667, 0.6667, 0.0000])
    >>> round(q.log_prob(torch.tensor([1.0, 0.0, 1.0, 0.0])).exp().item(), 4)
    0.3333
    """

    def __init__(self, k: int, logits: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(logits, k, validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        return _KHot(self.k)

    @property
    def mean(self) -> Tensor:
        """The probability that each class is in the set, `(*batch, n)`; differentiable."""
        logits = self.logits.to(working_dtype(self.logits.dtype))
        return chances_among_first(logits, self.k).to(self.logits.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Of k-hot points `(*sample, *batch, n)`: `(*sample, *batch)`, in at least float32.

        In float64 to 1e-11 of the larger of 1 and itself, for any logits. It takes the memory of
        about 110 k numbers for each point.
        """
        if self._validate_args:
            self._validate_sample(value)
        return self.unordered_log_prob(value.topk(self.k).indices)

    def unordered_log_prob(self, order: Tensor) -> Tensor:
        """`log_prob` of the set of some order of drawing, indices `(*sample, *batch, k)`."""
        logits, order = self._aligned(order)
        chosen = logits.gather(-1, order)
        impossible = chosen == -torch.inf
        others = logits.scatter(-1, order, -torch.inf)
        none = (others == -torch.inf).all(-1, keepdim=True)
        # Where an integral is not wanted, zeros keep it and its gradient finite.
        rest = others.masked_fill(none, 0).logsumexp(-1)
        log_p = log_chance_of_first(chosen.masked_fill(impossible, 0), rest)
        log_p = log_p.masked_fill(none.squeeze(-1), 0)
        return log_p.masked_fill(impossible.any(-1), -torch.inf)

    def arranged(self, order: Tensor) -> Tensor:
        blank = self.logits.new_zeros(*order.shape[:-1], *self.event_shape)
        return blank.scatter(-1, order, 1.0)

    def _point_shape(self, n: int) -> torch.Size:
        return torch.Size([n])

    def _count(self, n: int) -> int:
        return comb(n, self.k)

    def _orders(self, n: int) -> Tensor:
        return torch.tensor(list(combinations(range(n), self.k)))


register_kl(Subset, Subset)(divergence)  # type: ignore[no-untyped-call]
