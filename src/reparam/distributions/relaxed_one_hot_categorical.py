"""The relaxed one-hot categorical, or concrete, distribution."""

from math import log
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl
from torch.distributions.utils import broadcast_all
from torch.types import _size

from reparam.checks import working_dtype
from reparam.distributions.relaxed import Relaxed, check_same_temperature, largest, smallest
from reparam.distributions.relaxed_integrals import EULER, mean_log_mixture, mean_maximum
from reparam.noise import Noise


class _RoundedSimplex(constraints.Constraint):
    """The simplex as far as a dtype tells: non-negative, with a sum within rounding of 1."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        limits, k = torch.finfo(value.dtype), value.shape[-1]
        work = working_dtype(value.dtype)
        # Half a unit in the last place of each entry, or half the smallest number; and what
        # log_softmax, exp and this sum lose in the working dtype.
        tolerance = limits.eps + k * limits.tiny * limits.eps
        tolerance += 8 * torch.finfo(work).eps * (1 + log(max(k, 1)))
        total = value.sum(-1, dtype=work)
        return (value >= 0).all(-1) & ((total - 1).abs() <= tolerance)


class _MaskedLogits(constraints.Constraint):
    """Real or -inf in the last dimension, not all of them -inf."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value < torch.inf).all(-1) & (value > -torch.inf).any(-1)


class RelaxedOneHotCategorical(Relaxed):
    """y = softmax((logits + G) / temperature), G i.i.d. Gumbel(0, 1); event shape (K,).

    Maddison et al. 2017, "The Concrete Distribution", definition 1, arXiv:1611.00712. In log space
    it is log y: `log_rsample` gives that.

    temperature: positive; its shape joins the batch shape, never the classes.
    probs, logits: `(*batch, K)`, exactly one. Probability 0 excludes a class: its y is 0, and the
        density is that of the others.
    mask: True where a class is allowed; excludes the others. Broadcasts against probs or logits.

    >>> q = RelaxedOneHotCategorical(0.01, logits=torch.zeros(5, 3))
    >>> y = q.rsample()
    >>> torch.equal(q.log_prob(y), q.log_prob(y.clone()))
    True
    """

    arg_constraints = {  # noqa: RUF012
        "temperature": constraints.positive,
        "probs": _RoundedSimplex(),
        "logits": _MaskedLogits(),
    }
    support: constraints.Constraint = _RoundedSimplex()

    def __init__(
        self,
        temperature: Tensor | float,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
        *,
        mask: Tensor | None = None,
    ) -> None:
        super().__init__(
            temperature,
            with_classes("probs", probs),
            with_classes("logits", logits),
            mask=mask,
            event_ndim=1,
            validate_args=validate_args,
        )

    def expand(self, batch_shape: _size, _instance: Any = None) -> "RelaxedOneHotCategorical":
        new = self._get_checked_instance(RelaxedOneHotCategorical, _instance)  # type: ignore[no-untyped-call]
        expanded: RelaxedOneHotCategorical = self._expanded(new, batch_shape)
        return expanded

    def _normalized(self, probs: Tensor) -> Tensor:
        """Probabilities that sum to 1, as torch makes them."""
        wide = probs.to(working_dtype(probs.dtype))
        return (wide / wide.sum(-1, keepdim=True)).to(probs.dtype)

    @staticmethod
    def _logits_of(probs: Tensor) -> Tensor:
        none = probs == 0
        return probs.masked_fill(none, 1).log().masked_fill(none, -torch.inf)

    @staticmethod
    def _probs_of(logits: Tensor) -> Tensor:
        return torch.softmax(logits, -1)

    @staticmethod
    def _from_log(log: Tensor) -> Tensor:
        return log.exp()

    def _to_log(self, points: Tensor) -> Tensor:
        wide = points.to(torch.promote_types(points.dtype, self._logits.dtype))
        log = wide.clamp(min=smallest(points.dtype)).log()
        return log.masked_fill((points == 0) & self._excluded, -torch.inf)

    def _log_points(self, n: int, noise: Noise) -> Tensor:
        z = self._centered + noise.gumbel(n, self._logits)
        z = z.masked_fill(self._excluded, -torch.inf)
        # The largest becomes 0 before the division: a small temperature meets no infinity.
        z = (z - z.detach().amax(-1, keepdim=True)).masked_fill(self._excluded, 0)
        scaled = z / self.temperature.unsqueeze(-1)
        return torch.log_softmax(scaled.masked_fill(self._excluded, -torch.inf), -1)

    def _log_density(self, log: Tensor) -> Tensor:
        # Maddison et al. 2017, definition 1, over the classes that are not excluded.
        at = log.clamp(min=-largest(self._logits.dtype)).masked_fill(self._excluded, 0)
        scores = self._centered - self.temperature.unsqueeze(-1) * at
        scores = torch.log_softmax(scores.masked_fill(self._excluded, -torch.inf), -1)
        terms = scores.masked_fill(self._excluded, 0) - at
        k = self._classes.to(self._logits.dtype)
        density = k.lgamma() + (k - 1) * self.temperature.log() + terms.sum(-1)
        outside = (self._excluded & (log > -torch.inf)).any(-1)
        return density.masked_fill(outside, -torch.inf)

    def entropy(self) -> Tensor:
        # Definition 1 at y = softmax(z / T), z = a + G, where a - T log y = -G + const: all but
        # E log sum exp(z / T) are moments of log E, E ~ Exponential(1), and that is
        # E max(z + T G') / T - EULER, G' i.i.d. Gumbel(0, 1).
        t, a = self.temperature.double(), self._centered.double()
        k = self._classes.double()
        own = k * (2 * EULER + k.digamma()) - k.lgamma() - (k - 1) * t.log()
        maximum = mean_maximum(a, t, self._excluded)
        entropy = own + (a.sum(-1) + k * (EULER - maximum)) / t
        return entropy.masked_fill(k == 1, 0).to(self._logits.dtype)

    def kl_divergence(self, other: "RelaxedOneHotCategorical") -> Tensor:
        """KL(self || other) at one temperature, the same at each; batch shapes broadcast.

        An integral over one variable, by quadrature to 1e-13 K; infinite where the two exclude
        different classes. torch's `kl_divergence(q, p)` calls it.
        """
        check_same_temperature(self, other)
        # Under q, a - T log y = log E + const: log q - log p has the terms
        # log E_k - log sum E and log(w_k E_k) - log sum w E, with w = exp(b - a).
        q, p = (x.double() for x in broadcast_all(self._logits, other._logits))  # noqa: SLF001
        not_q, not_p = q == -torch.inf, p == -torch.inf
        excluded = not_q & not_p
        difference = p.masked_fill(not_p, 0) - q.masked_fill(not_q, 0)
        log_w = torch.log_softmax(difference.masked_fill(excluded, -torch.inf), -1)
        log_w = log_w.masked_fill(excluded, 0)
        k = (~excluded).sum(-1).double()
        gap: Tensor = mean_log_mixture(log_w, excluded) - k.log() - log_w.sum(-1) / k
        return (k * gap).masked_fill((not_q != not_p).any(-1), torch.inf).to(self._logits.dtype)

    @property
    def _classes(self) -> Tensor:
        """How many classes are not excluded."""
        return (~self._excluded).sum(-1)

    @property
    def _excluded(self) -> Tensor:
        return self._logits == -torch.inf

    @property
    def _centered(self) -> Tensor:
        """Logits whose largest is 0, else noise beside 1e8 were lost; 0 where excluded."""
        largest_one = self._logits.detach().amax(-1, keepdim=True)
        return (self._logits - largest_one).masked_fill(self._excluded, 0)


register_kl(RelaxedOneHotCategorical, RelaxedOneHotCategorical)(  # type: ignore[no-untyped-call]
    RelaxedOneHotCategorical.kl_divergence
)


def with_classes(name: str, value: Tensor | None) -> Tensor | None:
    """The parameter, refused unless it has classes along its last dimension."""
    if isinstance(value, Tensor) and (value.ndim == 0 or value.shape[-1] == 0):
        raise ValueError(
            f"{name}: expected at least one class along the last dimension, got shape "
            f"{tuple(value.shape)}"
        )
    return value
