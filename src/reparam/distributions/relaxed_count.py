"""Counts by Gumbel-Softmax: a distribution over 0, 1, 2, ..., truncated and then relaxed."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.types import _size

from reparam.checks import inspectable
from reparam.distributions.implicit import parameter, unvalidated
from reparam.distributions.reparameterized import Reparameterized
from reparam.functional import soft_argmax, straight_through
from reparam.noise import Noise

_MOST = 2**20
_NATS = 40.0

Bounds = tuple[int, int]


class RelaxedCount(Reparameterized):
    """sum_k k y_k, y = softmax((log p(k) + G_k) / temperature), k = low .. high; event shape ().

    Joo et al. 2020, "Generalized Gumbel-Softmax Gradient Estimator for Various Discrete Random
    Variables", arXiv:2003.01847. As the temperature falls, its law becomes that of the base given
    low <= count <= high. Its density and moments have no closed form. Computed in float64.

    temperature: positive; its shape joins the batch shape of the base.
    base: of counts from 0, with a `log_prob`: Poisson, Binomial, NegativeBinomial, Geometric, ...
    bounds: (low, high), the same in every batch row. By default the narrowest that leave at most
        tolerance / 2 of every row's probability on either side, which takes a base with a `mean`.

    A sample holds high - low + 1 numbers, for which given uniforms are `(n, *batch, numbers)`.

    >>> from torch.distributions import Poisson
    >>> q = RelaxedCount(0.5, Poisson(torch.tensor([2.0, 5.0])))
    >>> (q.low, q.high), q.rsample((3,)).shape
    ((0, 19), torch.Size([3, 2]))
    """

    arg_constraints = {"temperature": constraints.positive}  # noqa: RUF012

    def __init__(
        self,
        temperature: Tensor | float,
        base: Distribution,
        bounds: Bounds | None = None,
        *,
        tolerance: float = 1e-6,
        validate_args: bool | None = None,
    ) -> None:
        _check(base, bounds, tolerance)
        self.base = unvalidated(base)
        self.low, self.high = bounds or _narrowest(self.base, tolerance)
        log_p = _log_probs(self.base, self.low, self.high)
        _check_rows(log_p, self.low, self.high)
        like = parameter(base)
        tau = torch.as_tensor(temperature, dtype=like.dtype, device=like.device)
        batch = torch.broadcast_shapes(tau.shape, base.batch_shape)  # type: ignore[no-untyped-call]
        self.temperature, self._log_p = tau.expand(batch), log_p.expand(*batch, -1)
        super().__init__(batch, validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> "RelaxedCount":
        new: RelaxedCount = self._get_checked_instance(RelaxedCount, _instance)  # type: ignore[no-untyped-call]
        new.base, new.low, new.high = self.base, self.low, self.high
        new.temperature = self.temperature.expand(batch_shape)
        new._log_p = self._log_p.expand(*batch_shape, -1)
        Distribution.__init__(new, torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        return constraints.interval(self.low, self.high)  # type: ignore[no-untyped-call]

    @property
    def truncated_mass(self) -> Tensor:
        """The probability `(*batch)` that the base has beyond the bounds."""
        with torch.no_grad():
            p = _log_probs(self.base, 0, max(self.high, _far(self.base))).softmax(-1)
        mass = p[..., : self.low].sum(-1) + p[..., self.high + 1 :].sum(-1)
        return mass.to(self._dtype).expand(self.batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError(
            "log_prob: expected hard counts, a relaxed one has no density that is known; use "
            "RelaxedCountStraightThrough, or log_prob of the base"
        )

    @property
    def _dtype(self) -> torch.dtype:
        return self.temperature.dtype

    @property
    def _counts(self) -> Tensor:
        return torch.arange(self.low, self.high + 1).to(self._log_p)

    def _draw(self, n: int, noise: Noise) -> Tensor:
        """The noise itself, `(n, *batch, numbers)`."""
        return noise.gumbel(n, self._log_p)

    def _attach(self, values: Tensor) -> Tensor:
        y = soft_argmax(self._log_p + values, self.temperature.double())
        # Weights that sum to 1 but for rounding must not lead out of the bounds.
        return (y @ self._counts).clamp(self.low, self.high).to(self._dtype)


class RelaxedCountStraightThrough(RelaxedCount):
    """The k of the largest y_k, with the gradient of a `RelaxedCount`; event shape ().

    An exact sample of the base given low <= count <= high, whose density, moments and support
    these are. The gradient of a sample is biased. Arguments as for `RelaxedCount`.

    >>> from torch.distributions import Binomial
    >>> q = RelaxedCountStraightThrough(1.0, Binomial(4, torch.tensor(0.5)))
    >>> q.mean.item(), q.enumerate_support().tolist()
    (2.0, [0.0, 1.0, 2.0, 3.0, 4.0])
    """

    has_enumerate_support = True

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(self.low, self.high)  # type: ignore[no-untyped-call]

    @property
    def mean(self) -> Tensor:
        return (self._probs @ self._counts).to(self._dtype)

    @property
    def variance(self) -> Tensor:
        distance = self._counts - (self._probs @ self._counts).unsqueeze(-1)
        return (self._probs * distance.square()).sum(-1).to(self._dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)  # type: ignore[no-untyped-call]
        inside = self.support.check(value)
        index = torch.where(inside, value - self.low, 0).long().expand(shape).unsqueeze(-1)
        log_p = self._log_p.log_softmax(-1).expand(*shape, -1).gather(-1, index).squeeze(-1)
        return log_p.masked_fill(~inside, -torch.inf).to(self._dtype)

    def entropy(self) -> Tensor:
        log_p = self._log_p.log_softmax(-1)
        log_p = log_p.masked_fill(log_p == -torch.inf, 0)
        return -(self._probs * log_p).sum(-1).to(self._dtype)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Every count from low to high, `(numbers, *batch)`."""
        counts = self._counts.to(self._dtype).view(-1, *[1] * len(self.batch_shape))
        return counts.expand(-1, *self.batch_shape) if expand else counts

    @property
    def _probs(self) -> Tensor:
        return self._log_p.softmax(-1)

    def _attach(self, values: Tensor) -> Tensor:
        hard = self.low + (self._log_p + values).argmax(-1)
        return straight_through(hard.to(self._dtype), super()._attach(values))


def _log_probs(base: Distribution, low: int, high: int) -> Tensor:
    """log p(k) `(*batch, high - low + 1)` in float64; -inf where impossible."""
    # A float64 count makes what depends on it float64, and what remains is the same for all.
    counts = torch.arange(low, high + 1, dtype=torch.float64, device=parameter(base).device)
    counts = counts.view(-1, *[1] * len(base.batch_shape)).expand(-1, *base.batch_shape)
    possible = base.support.check(counts)  # type: ignore[union-attr]
    log_p = base.log_prob(torch.where(possible, counts, 0)).double()
    return log_p.masked_fill(~possible, -torch.inf).movedim(0, -1)


@torch.no_grad()
def _narrowest(base: Distribution, tolerance: float) -> Bounds:
    """Bounds with at most tolerance / 2 on either side; two counts, as one has no gradient."""
    p = _log_probs(base, 0, _far(base)).softmax(-1)
    p = p.reshape(-1, p.shape[-1])
    up_to, from_on = p.cumsum(-1), p.flip(-1).cumsum(-1).flip(-1)
    low = int((up_to <= tolerance / 2).all(0).sum())
    high = int((from_on > tolerance / 2).any(0).sum()) - 1
    return low, max(high, low + 1)


@torch.no_grad()
def _far(base: Distribution) -> int:
    """A count above the mean that is e^40 times less likely than it, in every row."""
    mean = base.mean.double().floor()
    enough = base.log_prob(mean) - _NATS
    count = 16
    while not bool(((count > mean) & (_log_probs(base, count, count)[..., 0] < enough)).all()):
        count *= 2
        if count > _MOST:
            raise ValueError(
                f"bounds: expected a base whose counts end before {_MOST:,}, got "
                f"{type(base).__name__} with more; give bounds=(low, high)"
            )
    return count


def _check(base: Distribution, bounds: Bounds | None, tolerance: float) -> None:
    if not isinstance(base, Distribution):
        raise TypeError(f"base: expected a distribution of counts, got {type(base).__name__}")
    if base.event_shape:
        raise TypeError(
            f"base: expected single counts, got {type(base).__name__} of event shape "
            f"{tuple(base.event_shape)}; put Independent around the RelaxedCount instead"
        )
    if bounds is not None and not 0 <= bounds[0] < bounds[1]:
        raise ValueError(f"bounds: expected counts 0 <= low < high, got {bounds}")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance: expected a probability between 0 and 1, got {tolerance}")
    if bounds is None and not inspectable():
        raise ValueError(
            "bounds: expected (low, high) under torch.compile and torch.func, where parameters "
            "cannot be looked at to choose them, got None"
        )


def _check_rows(log_p: Tensor, low: int, high: int) -> None:
    if inspectable() and bool((log_p == -torch.inf).all(-1).any()):
        raise ValueError(
            f"bounds: expected a possible count in every batch row, got ({low}, {high}) that some "
            "row never reaches"
        )
