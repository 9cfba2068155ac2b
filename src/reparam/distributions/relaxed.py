"""What the two relaxed distributions share: a sample that keeps its own log-space value."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.utils import lazy_property
from torch.types import _size
from torch.utils._pytree import tree_map

from reparam.checks import check_floating, inspectable, working_dtype
from reparam.functional.logits import checked_mask
from reparam.noise import Noise

_KEEPING = (
    *("clone", "detach", "contiguous", "__getitem__", "reshape", "view", "flatten", "unsqueeze"),
    *("squeeze", "expand", "permute", "transpose", "movedim", "select", "narrow", "index_select"),
    *("unbind", "split", "chunk"),
)
_KEEPERS = {
    getattr(place, name) for name in _KEEPING for place in (torch, Tensor) if hasattr(place, name)
}


class Sample(Tensor):
    """A tensor that keeps its log-space value through copies, views and indexing.

    Any other operation gives a plain tensor, and so do saving and `deepcopy`. Written to in place,
    or made a leaf that takes a gradient of its own, it forgets.
    """

    log_space: Tensor
    written: int

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001 (as Tensor's own does)
            result = func(*args, **(kwargs or {}))
            if func in _KEEPERS and args and (log := kept(args[0])) is not None:
                logs = func(log, *args[1:], **(kwargs or {}))
                return tree_map(keep, result, logs)
            return result

    def __iter__(self) -> Iterator[Tensor]:  # Tensor's own shows __torch_function__ no part
        return iter(self.unbind())

    def __deepcopy__(self, memo: Any) -> Tensor:
        return deepcopy(self.as_subclass(Tensor), memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.as_subclass(Tensor).__reduce_ex__(protocol)  # type: ignore[no-untyped-call]


def keep(value: Tensor, log: Tensor) -> Tensor:
    """The value, keeping `log`."""
    sample = value.as_subclass(Sample)
    sample.log_space, sample.written = log, _writes(value)
    return sample


def kept(value: Tensor) -> Tensor | None:
    """The log-space value, if this is a sample that still has it."""
    if not isinstance(value, Sample) or (value.is_leaf and value.requires_grad):
        return None
    return value.log_space if value.written == _writes(value) else None


def _writes(value: Tensor) -> int:
    return 0 if value.is_inference() else value._version  # noqa: SLF001 (it has no other name)


class Relaxed(Distribution):
    """A discrete distribution whose argmax is tempered: softmax((logits + noise) / temperature).

    Densities are computed from the logits and the sample in log space, in float32 (float64 for
    float64), and are left so: half precision cannot hold them. Samples are cast to the parameters'
    dtype, once.
    """

    has_rsample = True
    temperature: Tensor

    def __init__(
        self,
        temperature: Tensor | float,
        probs: Tensor | None,
        logits: Tensor | None,
        *,
        mask: Tensor | None,
        event_ndim: int,
        validate_args: bool | None,
    ) -> None:
        self._name, value = masked_parameter(probs, logits, mask)
        value = self._normalized(value) if self._name == "probs" else value
        dtype = working_dtype(value.dtype)
        tau = torch.as_tensor(temperature, dtype=dtype, device=value.device)
        batch, event = (
            value.shape[: value.ndim - event_ndim],
            value.shape[value.ndim - event_ndim :],
        )
        shape = _joined(tau.shape, batch)
        self.temperature, self._param = tau.expand(shape), value.expand(shape + event)
        setattr(self, self._name, self._param)
        wide = self._param.to(dtype)
        self._logits = self._logits_of(wide) if self._name == "probs" else wide
        super().__init__(shape, event, validate_args=validate_args)

    def _expanded(self, new: Any, batch_shape: _size) -> Any:
        batch = torch.Size(batch_shape)
        new.temperature, new._name = self.temperature.expand(batch), self._name  # noqa: SLF001
        new._param = self._param.expand(batch + self.event_shape)  # noqa: SLF001
        new._logits = self._logits.expand(batch + self.event_shape)  # noqa: SLF001
        setattr(new, new._name, new._param)  # noqa: SLF001
        Distribution.__init__(new, batch, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args  # noqa: SLF001
        return new

    @lazy_property
    def logits(self) -> Tensor:
        return self._logits.to(self._param.dtype)

    @lazy_property
    def probs(self) -> Tensor:
        return self._probs_of(self._logits).to(self._param.dtype)

    def rsample(
        self,
        sample_shape: _size = torch.Size(),  # noqa: B008
        noise: Noise | None = None,
    ) -> Tensor:
        """Points `(*sample, *batch, *event)` whose `log_prob` is exact, saturated or not.

        A point near a corner rounds to it, and the density there cannot be told from the rounded
        value. The points therefore keep their log-space value for `log_prob` to find: through
        `clone`, `detach`, indexing and views, but not through arithmetic, casts or saving. Under
        `torch.compile` and `torch.func` they are plain tensors: there, `log_rsample` and
        `log_prob_of_log` are the exact pair. The gradient of `log_prob` of a sample reaches the
        parameters through log space; to have it in the points, take them as a leaf,
        `points.detach().requires_grad_()`, which is read as plain.
        """
        log = self.log_rsample(sample_shape, noise)
        points = self._points(log).to(self._param.dtype)
        return keep(points, log) if inspectable() else points

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of points `(*sample, *batch, *event)`: of samples exactly, of others as told.

        A plain 0 or 1 is read as the nearest number that its dtype tells from it.
        """
        if self._validate_args:
            self._validate_sample(value)
        log = kept(value)
        return self._log_density(self._read(value) if log is None else log)

    def log_prob_of_log(self, value: Tensor) -> Tensor:
        """Log-density of the points, without a Jacobian, at values that `log_rsample` gave."""
        if self._validate_args:
            self._validate_sample(self._points(value))
        return self._log_density(value)

    def log_rsample(
        self,
        sample_shape: _size = torch.Size(),  # noqa: B008
        noise: Noise | None = None,
    ) -> Tensor:
        """The sample in log space, `(*sample, *batch, *event)`, in float32 or float64."""
        shape = torch.Size(sample_shape)
        log = self._log_points(shape.numel(), noise or Noise())
        return log.reshape(self._extended_shape(shape))

    @abstractmethod
    def entropy(self) -> Tensor:
        """E[-log_prob(y)] `(*batch)`, in float32 (float64 for float64); 0 of a certain outcome."""

    def _points(self, log: Tensor) -> Tensor:
        """What `rsample` returns for log-space values."""
        return self._from_log(log)

    def _read(self, value: Tensor) -> Tensor:
        """Log-space values for `log_prob` of points that keep none."""
        return self._to_log(value)

    def _normalized(self, probs: Tensor) -> Tensor:
        """Probabilities as they were given."""
        return probs

    @staticmethod
    @abstractmethod
    def _logits_of(probs: Tensor) -> Tensor:
        """The logits of given probabilities."""

    @staticmethod
    @abstractmethod
    def _probs_of(logits: Tensor) -> Tensor:
        """The probabilities of given logits."""

    @staticmethod
    @abstractmethod
    def _from_log(log: Tensor) -> Tensor:
        """Points of log-space values."""

    @abstractmethod
    def _to_log(self, points: Tensor) -> Tensor:
        """Log-space values of plain points."""

    @abstractmethod
    def _log_points(self, n: int, noise: Noise) -> Tensor:
        """A sample in log space, `(n, *batch, *event)`."""

    @abstractmethod
    def _log_density(self, log: Tensor) -> Tensor:
        """The log-density of the points, at log-space values."""


def smallest(dtype: torch.dtype) -> float:
    """The smallest positive number of a dtype that also its working dtype holds."""
    limits = torch.finfo(dtype)
    return max(limits.tiny * limits.eps, torch.finfo(working_dtype(dtype)).tiny)


def largest(dtype: torch.dtype) -> float:
    """What log-space values are clamped to: infinite to a density, but sums of it are not."""
    return float(torch.finfo(dtype).max ** 0.75)


def check_same_temperature(q: Relaxed, p: Relaxed) -> None:
    """Refuse a divergence between two temperatures: it has no formula that is known."""
    if inspectable() and not bool((q.temperature == p.temperature).all()):
        raise NotImplementedError(
            f"kl_divergence: expected two {type(q).__name__} of one temperature, got different; "
            "estimate it as q.log_prob(y) - p.log_prob(y) at samples y of q"
        )


def masked_parameter(
    probs: Tensor | None, logits: Tensor | None, mask: Tensor | None
) -> tuple[str, Tensor]:
    """The name and the value of the one that is given, without what the mask excludes."""
    name, value = _one_of(probs, logits)
    if mask is None:
        return name, value
    excluded = ~checked_mask(mask, name, value)
    return name, value.masked_fill(excluded, 0.0 if name == "probs" else -torch.inf)


def _one_of(probs: Tensor | None, logits: Tensor | None) -> tuple[str, Tensor]:
    if (probs is None) == (logits is None):
        got = "neither" if probs is None else "both"
        raise ValueError(f"expected exactly one of probs= and logits=, got {got}")
    name, value = ("probs", probs) if logits is None else ("logits", logits)
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(value).__name__}")
    check_floating(name, value)
    return name, value


def _joined(tau: torch.Size, batch: torch.Size) -> torch.Size:
    try:
        shape: torch.Size = torch.broadcast_shapes(tau, batch)  # type: ignore[no-untyped-call]
    except RuntimeError:
        raise ValueError(
            f"temperature: expected a shape that broadcasts with the batch shape {tuple(batch)} "
            f"(the classes share one temperature), got {tuple(tau)}"
        ) from None
    return shape
