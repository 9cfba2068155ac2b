"""The logarithm of a Dirichlet variable, where only logarithms are numbers."""

from typing import Any

import torch
from torch import Tensor, distributions
from torch.distributions import Distribution, constraints, register_kl
from torch.types import _size

from reparam.checks import check_floating
from reparam.distributions.dirichlet import Dirichlet, log_normalizer
from reparam.noise import Noise


class _LogSimplex(constraints.Constraint):
    """Finite, and on the simplex after `exp`."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        finite = value.isfinite().all(-1)
        return finite & (value.logsumexp(-1).abs() < 1e-6 + 8 * torch.finfo(value.dtype).eps)


class LogDirichlet(Distribution):
    """log X of X ~ Dirichlet(concentration); event shape (K,).

    The density is that of the log-ratios log X_k - log X_j to an entry j, whichever that is:
    prod_k X_k^alpha_k / B(alpha), which has no poles. It is that of the point, times the Jacobian
    prod_k X_k: log_prob(y) = Dirichlet.log_prob_of_log(y) + y.sum(-1). Ratios of densities, and
    with them divergences, are the Dirichlet's. Values are in float32, or float64.

    concentration: positive, `(*batch, K)`, K >= 2.

    >>> q = LogDirichlet(torch.full((3,), 1e-6))
    >>> y = q.rsample((1000,))
    >>> y.isfinite().all().item(), q.log_prob(y).isfinite().all().item()
    (True, True)
    """

    arg_constraints = distributions.Dirichlet.arg_constraints
    support = _LogSimplex()
    has_rsample = True

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        check_floating("concentration", concentration)
        if concentration.ndim == 0:
            raise ValueError(
                "concentration: expected at least one dimension, (*batch, K), got a number"
            )
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> "LogDirichlet":
        new: LogDirichlet = self._get_checked_instance(LogDirichlet, _instance)  # type: ignore[no-untyped-call]
        batch = torch.Size(batch_shape)
        new.concentration = self.concentration.expand(batch + self.event_shape)
        super(LogDirichlet, new).__init__(batch, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        a = self.concentration
        return torch.digamma(a) - torch.digamma(a.sum(-1, keepdim=True))

    @property
    def mode(self) -> Tensor:
        """Of the density with respect to log-ratios, at the logarithm of the Dirichlet's mean."""
        return (self.concentration / self.concentration.sum(-1, keepdim=True)).log()

    @property
    def variance(self) -> Tensor:
        a = self.concentration
        return torch.polygamma(1, a) - torch.polygamma(1, a.sum(-1, keepdim=True))

    def rsample(
        self,
        sample_shape: _size = torch.Size(),  # noqa: B008
        noise: Noise | None = None,
    ) -> Tensor:
        """Values `(*sample, *batch, K)`, log-probabilities that sum to one."""
        return Dirichlet(self.concentration, validate_args=False).log_rsample(sample_shape, noise)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return (self.concentration * value).sum(-1) - log_normalizer(self.concentration)

    def entropy(self) -> Tensor:
        return log_normalizer(self.concentration) - (self.concentration * self.mean).sum(-1)

    def kl_divergence(self, other: "LogDirichlet") -> Tensor:
        """KL(self || other) `(*batch)`: the Dirichlets'."""
        p, q = (Dirichlet(d.concentration, validate_args=False) for d in (self, other))
        return distributions.kl_divergence(p, q)


register_kl(LogDirichlet, LogDirichlet)(LogDirichlet.kl_divergence)  # type: ignore[no-untyped-call]
