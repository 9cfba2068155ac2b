"""The inverse Gaussian distribution: when Brownian motion with drift first reaches a level."""

from math import log, pi

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl
from torch.distributions.utils import broadcast_all

from reparam.distributions.implicit import invert
from reparam.distributions.levels import between
from reparam.distributions.reparameterized import Reparameterized
from reparam.noise import Noise
from reparam.special.exponential_integral import scaled_exponential_integral
from reparam.special.implicit import at_fixed_quantile
from reparam.special.normal import mills


class InverseGaussian(Reparameterized):
    """Density sqrt(c / (2 pi x^3)) exp(-c (x - m)^2 / (2 m^2 x)), of mean m, variance m^3 / c.

    Johnson et al. 1994, "Continuous Univariate Distributions", volume 1, chapter 15. Also known as
    Wald's. Computed in float64.

    loc, concentration: m and c, positive, broadcast to the batch shape.

    >>> InverseGaussian(torch.tensor(2.0), torch.tensor(4.0)).variance.item()
    2.0
    """

    arg_constraints = {"loc": constraints.positive, "concentration": constraints.positive}  # noqa: RUF012
    support = constraints.positive

    def __init__(
        self,
        loc: Tensor | float,
        concentration: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        ratio = 1.5 * self.loc / self.concentration
        return self.loc / (torch.sqrt(1 + ratio * ratio) + ratio)

    @property
    def variance(self) -> Tensor:
        return self.loc**3 / self.concentration

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return _log_density(value.double(), *self._parameters).to(self.loc.dtype)

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return _cdf(value.double(), *self._parameters).to(self.loc.dtype)

    def icdf(self, value: Tensor) -> Tensor:
        """By bisection; differentiable in the level and the parameters."""

        def slopes(x: Tensor, u: Tensor, m: Tensor, c: Tensor) -> tuple[Tensor, ...]:
            return (-_log_density(x, m, c)).exp(), *_slopes(x, m, c)

        def quantile(level: Tensor) -> Tensor:
            x = self._quantile(level.detach())
            return at_fixed_quantile(x, slopes, level, *self._parameters)

        return between(0.0, torch.inf, self._level(value), quantile).to(self.loc.dtype)

    def entropy(self) -> Tensor:
        m, c = self._parameters
        mean_log = m.log() - scaled_exponential_integral(2 * c / m)
        return ((log(2 * pi) + 1 - c.log() + 3 * mean_log) / 2).to(self.loc.dtype)

    def kl_divergence(self, other: "InverseGaussian") -> Tensor:
        """KL(self || other) in closed form; torch's `kl_divergence` calls it."""
        (m, c), (n, d) = self._parameters, other._parameters  # noqa: SLF001
        drift = d * (m - n).square() / (m * n * n)
        return ((d / c - 1 - (d / c).log() + drift) / 2).to(self.loc.dtype)

    @property
    def _parameters(self) -> tuple[Tensor, Tensor]:
        return self.loc.double(), self.concentration.double()

    def _quantile(self, u: Tensor) -> Tensor:
        m, c = (p.detach() for p in self._parameters)
        return invert(lambda x: _cdf(x, m, c), u, constraints.positive)

    def _draw(self, n: int, noise: Noise) -> Tensor:
        """Michael, Schucany & Haas 1976, "Generating random variates using transformations"."""
        m, c = self._parameters
        if noise.uniforms is not None:
            return self._quantile(noise.uniform(n, m))
        # Of the roots x and m^2 / x of c (x - m)^2 / (m^2 x) = z^2, the smaller, without a
        # cancellation; or the other.
        y = noise.normal(n, m).square() * m / (2 * c)
        smaller = m / (1 + y + torch.sqrt(y * (2 + y)))
        return torch.where(noise.uniform(n, m) * (m + smaller) <= m, smaller, m * m / smaller)

    def _attach(self, values: Tensor) -> Tensor:
        return at_fixed_quantile(values, _slopes, *self._parameters).to(self.loc.dtype)

    def _finish(self, values: Tensor) -> Tensor:
        return values.to(self.loc.dtype)


def _ends(x: Tensor, m: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    root = torch.sqrt(c / x)
    return root * (x - m) / m, root * (x + m) / m


def _log_density(x: Tensor, m: Tensor, c: Tensor) -> Tensor:
    a, _ = _ends(x, m, c)
    return (c.log() - log(2 * pi) - 3 * x.log() - a * a) / 2


def _cdf(x: Tensor, m: Tensor, c: Tensor) -> Tensor:
    """Phi(a) + exp(2 c / m) Phi(-b), its second term as phi(a) Phi(-b) / phi(b)."""
    a, b = _ends(x, m, c)
    density = torch.exp(-a * a / 2) / (2 * pi) ** 0.5
    below: Tensor = torch.special.ndtr(a) + density * mills(b)
    return below


def _slopes(x: Tensor, m: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """dx/dm and dx/dc at a fixed level of the CDF: -(dF/dm) / p and -(dF/dc) / p."""
    _, b = _ends(x, m, c)
    rise = 2 * mills(b) * torch.sqrt(c * x) * x / (m * m)
    return rise, (x - m * rise) / c


register_kl(InverseGaussian, InverseGaussian)(InverseGaussian.kl_divergence)  # type: ignore[no-untyped-call]
