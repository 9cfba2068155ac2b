"""What the two laws of a sample without replacement share: of its set, and of its order."""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.types import _size

from reparam.checks import check_count, check_support, inspectable, working_dtype
from reparam.functional.logits import prepared
from reparam.noise import Noise


class WithoutReplacement(Distribution):
    """k of n classes, one after another, each by its weight among those that remain.

    Equivalently the k largest of logits + Gumbel noise, in descending order (Yellott 1977, "The
    relationship between Luce's choice axiom, Thurstone's theory of comparative judgment, and the
    double exponential distribution", doi:10.1016/0022-2496(77)90026-8).
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012
    has_enumerate_support = True

    def __init__(self, logits: Tensor, k: int | None, validate_args: bool | None) -> None:
        prepared(logits, -1, None, "error", validate=True)
        self.k = logits.shape[-1] if k is None else k
        _check_k(logits, self.k)
        self.logits = logits - logits.logsumexp(-1, keepdim=True)
        event = self._point_shape(logits.shape[-1])
        super().__init__(logits.shape[:-1], event, validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> Any:
        new = self._get_checked_instance(type(self), _instance)  # type: ignore[no-untyped-call]
        batch = torch.Size(batch_shape)
        new.k, new.logits = self.k, self.logits.expand(*batch, -1)
        Distribution.__init__(new, batch, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args  # noqa: SLF001
        return new

    @property
    def mode(self) -> Tensor:
        return self.arranged(self.logits.detach().topk(self.k).indices)

    @property
    def variance(self) -> Tensor:
        """Of each entry, which is 0 or 1."""
        return self.mean * (1 - self.mean)

    def sample(
        self,
        sample_shape: _size = torch.Size(),  # noqa: B008
        noise: Noise | None = None,
    ) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            n = torch.Size(sample_shape).numel()
            z = self.logits + (noise or Noise()).gumbel(n, self.logits)
            return self.arranged(z.topk(self.k).indices).reshape(shape)

    def ordered_log_prob(self, order: Tensor) -> Tensor:
        """Of the order of the draw, class indices `(*sample, *batch, k)`: `(*sample, *batch)`."""
        logits, order = self._aligned(order)
        return (logits.gather(-1, order) - log_remaining(logits, order)).sum(-1)

    def entropy(self) -> Tensor:
        """By enumeration."""
        log_p = self.log_prob(self.enumerate_support())
        return -(log_p.exp() * log_p.masked_fill(log_p == -torch.inf, 0)).sum(0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Every point, those that -inf logits exclude among them: `(S, *batch, *event)`."""
        n = self.logits.shape[-1]
        check_support(self._count(n))
        points = self.arranged(self._orders(n).to(self.logits.device))
        points = points.reshape(-1, *[1] * len(self.batch_shape), *self.event_shape)
        return points.expand(-1, *self.batch_shape, *self.event_shape) if expand else points

    @abstractmethod
    def arranged(self, order: Tensor) -> Tensor:
        """The points of orders of drawing, class indices `(*, k)`: `(*, *event)`."""

    def _aligned(self, order: Tensor) -> tuple[Tensor, Tensor]:
        """Logits in the working dtype, and orders, both expanded to one `(*sample, *batch)`."""
        logits = self.logits.to(working_dtype(self.logits.dtype))
        shape = torch.broadcast_shapes(logits.shape[:-1], order.shape[:-1])  # type: ignore[no-untyped-call]
        return logits.expand(*shape, -1), order.expand(*shape, -1)

    @abstractmethod
    def _point_shape(self, n: int) -> torch.Size:
        """The event shape, of n classes."""

    @abstractmethod
    def _count(self, n: int) -> int:
        """The size of the support."""

    @abstractmethod
    def _orders(self, n: int) -> Tensor:
        """An order for every point, `(S, k)`."""


def is_class(index: Tensor, n: int) -> Tensor:
    """Whether an index is each of n classes: `(*)` -> boolean `(*, n)`.

    torch's one_hot looks at its values, which vmap forbids.
    """
    return index.unsqueeze(-1) == torch.arange(n, device=index.device)


def log_remaining(logits: Tensor, order: Tensor) -> Tensor:
    """The log of the weight that is left before each draw: order `(*, *batch, k)` -> the same.

    logits: `(*batch, n)`. One sum for each, not differences or a running sum: a weight counts to
    the last digit, also in the gradient, however small it is beside those that are gone.
    """
    drawn = is_class(order, logits.shape[-1])
    gone = drawn.cumsum(-2) > drawn
    rows = logits.unsqueeze(-2).expand(gone.shape)
    return rows.masked_fill(gone, -torch.inf).logsumexp(-1)


def divergence(p: WithoutReplacement, q: WithoutReplacement) -> Tensor:
    """KL(p || q) by enumeration, `(*batch)`; infinite where q excludes what p allows."""
    if p.event_shape != q.event_shape or p.k != q.k:
        raise ValueError(
            f"kl_divergence: expected two {type(p).__name__} of one k and number of classes, got "
            f"k = {p.k} of {p.logits.shape[-1]} and k = {q.k} of {q.logits.shape[-1]}"
        )
    points = p.enumerate_support(expand=False)
    log_p, log_q = p.log_prob(points), q.log_prob(points)
    allowed, excluded = log_p > -torch.inf, log_q == -torch.inf
    gap = (log_p - log_q).masked_fill(~allowed | excluded, 0)
    return (log_p.exp() * gap).sum(0).masked_fill((allowed & excluded).any(0), torch.inf)


def _check_k(logits: Tensor, k: int) -> None:
    check_count("k", k)
    allowed = (logits.detach() > -torch.inf).sum(-1)
    least = int(allowed.amin()) if allowed.numel() and inspectable() else logits.shape[-1]
    if k > least:
        raise ValueError(
            f"k: expected at most as many classes as every row allows (logits above -inf), got {k} "
            f"and a row with {least}; lower k or allow more"
        )
