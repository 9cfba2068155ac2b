"""Rankings: the Plackett-Luce distribution."""

from itertools import permutations
from math import perm

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from reparam.distributions.without_replacement import WithoutReplacement, divergence, is_class


class OneHotRows(constraints.Constraint):
    """Matrices whose rows are different one-hot vectors; square ones are permutations."""

    is_discrete = True
    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        binary = ((value == 0) | (value == 1)).flatten(-2).all(-1)
        return binary & (value.sum(-1) == 1).all(-1) & (value.sum(-2) <= 1).all(-1)


class PlackettLuce(WithoutReplacement):
    """The k largest of logits + G, G i.i.d. Gumbel(0, 1), in order; points `(k, n)`.

    Row i of a point is the one-hot of the class ranked i-th. Plackett 1975, "The analysis of
    permutations", doi:10.2307/2346567; Luce 1959, "Individual choice behavior".

    logits: `(*batch, n)`, log-weights; -inf excludes a class, and every row must allow k.
    k: how many ranks are observed; all n by default. Estimators take noise `(*batch, n)`, not of
    the event shape.

    >>> q = PlackettLuce(torch.tensor([0.0, 1.0, 2.0]))
    >>> q.mode.argmax(-1)
    tensor([2, 1, 0])
    """

    support = OneHotRows()

    def __init__(
        self, logits: Tensor, k: int | None = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(logits, k, validate_args)

    @property
    def mean(self) -> Tensor:
        """The probability of each class at each rank, `(*batch, k, n)`, by enumeration."""
        points = self.enumerate_support()
        return (self.log_prob(points).exp()[..., None, None].to(points.dtype) * points).sum(0)

    def log_prob(self, value: Tensor) -> Tensor:
        """Of points `(*sample, *batch, k, n)`: `(*sample, *batch)`, in at least float32."""
        if self._validate_args:
            self._validate_sample(value)
        return self.ordered_log_prob(value.argmax(-1))

    def arranged(self, order: Tensor) -> Tensor:
        return is_class(order, self.event_shape[-1]).to(self.logits.dtype)

    def _point_shape(self, n: int) -> torch.Size:
        return torch.Size([self.k, n])

    def _count(self, n: int) -> int:
        return perm(n, self.k)

    def _orders(self, n: int) -> Tensor:
        return torch.tensor(list(permutations(range(n), self.k)))


register_kl(PlackettLuce, PlackettLuce)(divergence)  # type: ignore[no-untyped-call]
