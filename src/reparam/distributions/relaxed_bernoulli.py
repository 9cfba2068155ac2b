"""The relaxed Bernoulli, or binary concrete, distribution."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl
from torch.distributions.utils import broadcast_all
from torch.nn.functional import softplus
from torch.types import _size

from reparam.distributions.relaxed import Relaxed, check_same_temperature, largest, smallest
from reparam.distributions.relaxed_integrals import mean_distance
from reparam.noise import Noise


class RelaxedBernoulli(Relaxed):
    """y = sigmoid((logits + L) / temperature), L ~ Logistic(0, 1); event shape ().

    Maddison et al. 2017, "The Concrete Distribution", appendix B, arXiv:1611.00712. In log space,
    the logit of y, it is Logistic(logits / temperature, 1 / temperature); `log_rsample` gives that.

    temperature: positive, broadcast against probs or logits to the batch shape.
    probs, logits: exactly one. Infinite logits leave one outcome: y is 0 or 1, of density 1.
    mask: True where 1 is allowed; elsewhere y is 0. Broadcasts against probs or logits.

    >>> q = RelaxedBernoulli(0.01, logits=torch.zeros(1000))
    >>> y = q.rsample()
    >>> torch.equal(q.log_prob(y), q.log_prob(y.clone()))
    True
    """

    arg_constraints = {  # noqa: RUF012
        "temperature": constraints.positive,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    support: constraints.Constraint = constraints.unit_interval

    def __init__(
        self,
        temperature: Tensor | float,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
        *,
        mask: Tensor | None = None,
    ) -> None:
        super().__init__(
            temperature,
            _tensor(probs, temperature),
            _tensor(logits, temperature),
            mask=mask,
            event_ndim=0,
            validate_args=validate_args,
        )

    def expand(self, batch_shape: _size, _instance: Any = None) -> "RelaxedBernoulli":
        new = self._get_checked_instance(RelaxedBernoulli, _instance)  # type: ignore[no-untyped-call]
        expanded: RelaxedBernoulli = self._expanded(new, batch_shape)
        return expanded

    @staticmethod
    def _logits_of(probs: Tensor) -> Tensor:
        sure = (probs == 0) | (probs == 1)
        return _fixed(torch.logit(probs.masked_fill(sure, 0.5)), sure, probs - 0.5)

    @staticmethod
    def _probs_of(logits: Tensor) -> Tensor:
        return torch.sigmoid(logits)

    @staticmethod
    def _from_log(log: Tensor) -> Tensor:
        return torch.sigmoid(log)

    def _to_log(self, points: Tensor) -> Tensor:
        dtype = torch.promote_types(points.dtype, self._logits.dtype)
        below_one = 1 - torch.finfo(points.dtype).eps / 2
        log = torch.logit(points.to(dtype).clamp(smallest(points.dtype), below_one))
        corner = self._logits.isinf() & ((points == 0) | (points == 1))
        return _fixed(log, corner, points - 0.5)

    def _log_points(self, n: int, noise: Noise) -> Tensor:
        sure = self._logits.isinf()
        z = self._logits.masked_fill(sure, 0) + noise.logistic(n, self._logits)
        return _fixed(z / self.temperature, sure, self._logits)

    def _log_density(self, log: Tensor) -> Tensor:
        # Maddison et al. 2017, appendix B: that of the logit, and the logit's derivative.
        sure = self._logits.isinf()
        bound = largest(self._logits.dtype)
        at = log.clamp(-bound, bound)
        x = (self._logits.masked_fill(sure, 0) - self.temperature * at).abs()
        slope = at.abs() + 2 * softplus(-at.abs())
        density = self.temperature.log() - x - 2 * softplus(-x) + slope
        density = torch.where(sure, 0, density)
        return density.masked_fill(sure & (log != self._logits), -torch.inf)

    def entropy(self) -> Tensor:
        # The logit x is logistic, of entropy 2 - log T, and -E log(dy/dx) = E|x + L|, L ~
        # Logistic(0, 1): log(1 / (y (1 - y))) = |x| + 2 softplus(-|x|) is the mean over L alone.
        sure, t = self._logits.isinf(), self.temperature.double()
        distance = mean_distance(self._logits.double().masked_fill(sure, 0), t)
        entropy = 2 - t.log() - distance / t
        return entropy.masked_fill(sure, 0).to(self._logits.dtype)

    def kl_divergence(self, other: "RelaxedBernoulli") -> Tensor:
        """KL(self || other) at one temperature, in closed form; batch shapes broadcast.

        In log space both are logistic, of equal scale, d apart in units of it, d the difference of
        the logits: d coth(d / 2) - 2 at every temperature. torch's `kl_divergence(q, p)` calls it.
        """
        check_same_temperature(self, other)
        a, b = broadcast_all(self._logits, other._logits)  # noqa: SLF001
        sure = a.isinf() | b.isinf()
        x = (a.masked_fill(sure, 0) - b.masked_fill(sure, 0)) / 2
        return (2 * _x_coth_x_less_one(x)).masked_fill(sure & (a != b), torch.inf)


register_kl(RelaxedBernoulli, RelaxedBernoulli)(RelaxedBernoulli.kl_divergence)  # type: ignore[no-untyped-call]


def _tensor(value: Tensor | float | None, like: Tensor | float) -> Tensor | None:
    """A number in the dtype of the temperature, if that is a tensor."""
    if value is None or isinstance(value, Tensor):
        return value
    if isinstance(like, Tensor):
        return torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return broadcast_all(float(value))[0]


def _fixed(log: Tensor, sure: Tensor, sign: Tensor) -> Tensor:
    """Log-space values, infinite where the outcome is sure, with the sign of `sign`."""
    infinity = torch.tensor(torch.inf, dtype=log.dtype, device=log.device)
    return torch.where(sure, infinity.copysign(sign.detach()), log)


def _x_coth_x_less_one(x: Tensor) -> Tensor:
    near = x.abs() < 1
    square = torch.where(near, x, 0).square()
    # Lambert's continued fraction of x coth x, without cancellation; to 1e-17 for |x| < 1.
    fraction = torch.full_like(x, 19.0)
    for odd in range(17, 1, -2):
        fraction = odd + square / fraction
    far = torch.where(near, 1, x)
    return torch.where(near, square / fraction, far / torch.tanh(far) - 1)
