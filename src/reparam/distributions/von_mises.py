"""The von Mises distribution: the normal of the circle."""

from math import log, pi

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl
from torch.distributions.utils import broadcast_all

from reparam.distributions.implicit import root
from reparam.distributions.polar import Polar, versine
from reparam.distributions.reparameterized import Reparameterized
from reparam.noise import Noise


class VonMises(Reparameterized):
    """Density exp(kappa cos(x - loc)) / (2 pi I_0(kappa)) of an angle; event shape ().

    Mardia & Jupp 2000, "Directional Statistics", section 3.5.4. Samples lie in [loc - pi, loc + pi]
    and are not wrapped: they move with loc, and given uniforms come out as u-quantiles.

    loc, concentration: an angle in radians and kappa >= 0, broadcast to the batch shape.

    >>> q = VonMises(torch.tensor(0.0), torch.tensor(2.0))
    >>> q.icdf(torch.tensor(0.5)).item()
    0.0
    """

    arg_constraints = {"loc": constraints.real, "concentration": constraints.nonnegative}  # noqa: RUF012
    support = constraints.real

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
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The circular variance, 1 - E cos(x - loc) = 1 - I_1(kappa) / I_0(kappa)."""
        return (1 - self._polar.mean_cosine).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return self._polar.log_density(value - self.loc.double()).sub(log(2)).to(self.loc.dtype)

    def cdf(self, value: Tensor) -> Tensor:
        """From loc - pi to the value, both within pi of loc."""
        return self._cdf(value - self.loc.double()).to(self.loc.dtype)

    def icdf(self, value: Tensor) -> Tensor:
        """In [loc - pi, loc + pi]; differentiable in level and parameters."""
        level = self._level(value)
        x = root(self._quantile(level.detach()), self._cdf, level=level)
        return (self.loc.double() + x).to(self.loc.dtype)

    def entropy(self) -> Tensor:
        polar = self._polar
        entropy = log(2) + polar.log_normalizer + polar.kappa * (1 - polar.mean_cosine)
        return entropy.to(self.loc.dtype)

    def kl_divergence(self, other: "VonMises") -> Tensor:
        """KL(self || other) in closed form; torch's `kl_divergence` calls it."""
        p, q = self._polar, other._polar  # noqa: SLF001
        between = versine(self.loc.double() - other.loc.double())
        a = p.mean_cosine
        kl = q.log_normalizer - p.log_normalizer - (p.kappa - q.kappa) * (1 - a)
        return (kl + q.kappa * a * between).to(self.loc.dtype)

    @property
    def _polar(self) -> Polar:
        return Polar(self.concentration, dim=2)

    @property
    def _fixed(self) -> Polar:
        return Polar(self.concentration.detach(), dim=2)

    def _cdf(self, x: Tensor) -> Tensor:
        _, outside = self._polar.tails(x.abs().clamp(max=pi))
        return torch.where(x < 0, outside, 2 - outside) / 2

    def _quantile(self, u: Tensor) -> Tensor:
        outside = 2 * torch.minimum(u, 1 - u)
        angle = self._fixed.quantile(1 - outside, outside)
        return angle.copysign(u - 0.5)

    def _draw(self, n: int, noise: Noise) -> Tensor:
        if noise.key is not None or noise.uniforms is not None:
            return self._quantile(noise.uniform(n, self.loc.double()))
        return self._fixed.draw(n, noise).copysign(noise.normal(n, self.loc))

    def _attach(self, values: Tensor) -> Tensor:
        angle = Polar(self.concentration, 2, self.concentration.dtype).moving(values.abs())
        return self._finish(values.sign() * angle)

    def _finish(self, values: Tensor) -> Tensor:
        return (self.loc.double() + values).to(self.loc.dtype)


register_kl(VonMises, VonMises)(VonMises.kl_divergence)  # type: ignore[no-untyped-call]
