"""The generalized gamma distribution: Gamma, Weibull, chi, half-normal and more in one."""

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl
from torch.distributions.utils import broadcast_all

from reparam.distributions.gamma import draw_log_gamma
from reparam.distributions.levels import between
from reparam.distributions.relaxed import smallest
from reparam.distributions.reparameterized import Reparameterized
from reparam.noise import Noise
from reparam.special.gamma_levels import gamma_cdf_of_log, gamma_log_icdf
from reparam.special.incomplete_gamma import with_gamma_gradient


class GeneralizedGamma(Reparameterized):
    """scale G^(1 / power), G ~ Gamma(concentration, 1); event shape ().

    Stacy 1962, "A generalization of the gamma distribution", doi:10.1214/aoms/1177704481, with
    d / p there as the concentration. power = 1 is Gamma, concentration = 1 Weibull,
    concentration = 1/2 with power = 2 half-normal. Computed in float64. Where a sample underflows,
    it is the smallest positive number.

    concentration, scale, power: positive, broadcast to the batch shape.

    >>> q = GeneralizedGamma(torch.tensor(1.0), torch.tensor(2.0), torch.tensor(1.0))
    >>> q.mean.item()
    2.0
    """

    arg_constraints = {  # noqa: RUF012
        "concentration": constraints.positive,
        "scale": constraints.positive,
        "power": constraints.positive,
    }
    support = constraints.positive

    def __init__(
        self,
        concentration: Tensor | float,
        scale: Tensor | float,
        power: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        self.concentration, self.scale, self.power = broadcast_all(concentration, scale, power)
        super().__init__(self.scale.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        _, scale, _ = self._parameters
        return (scale * self._log_moment(1).exp()).to(self.scale.dtype)

    @property
    def mode(self) -> Tensor:
        k, scale, power = self._parameters
        return (scale * (k - 1 / power).clamp(min=0) ** (1 / power)).to(self.scale.dtype)

    @property
    def variance(self) -> Tensor:
        _, scale, _ = self._parameters
        first, second = self._log_moment(1), self._log_moment(2)
        spread = (2 * first).exp() * torch.expm1(second - 2 * first)
        return (scale.square() * spread).to(self.scale.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        k, _, power = self._parameters
        log_x = value.double().log()
        y = self._log_gamma(log_x)
        return (power.log() + k * y - y.exp() - k.lgamma() - log_x).to(self.scale.dtype)

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        y = self._log_gamma(value.double().log())
        return gamma_cdf_of_log(y, self.concentration).to(self.scale.dtype)

    def icdf(self, value: Tensor) -> Tensor:
        """Differentiable in the level and the parameters."""

        def quantile(level: Tensor) -> Tensor:
            return self._scaled(gamma_log_icdf(level, self.concentration))

        return between(0.0, torch.inf, self._level(value), quantile).to(self.scale.dtype)

    def entropy(self) -> Tensor:
        return self._entropy().to(self.scale.dtype)

    def kl_divergence(self, other: "GeneralizedGamma") -> Tensor:
        """KL(self || other) in closed form; torch's `kl_divergence` calls it.

        Bauckhage 2014, "Computing the Kullback-Leibler divergence between two generalized gamma
        distributions", arXiv:1401.6853.
        """
        (k, scale, power), (m, _, slope) = self._parameters, other._parameters  # noqa: SLF001
        mean_log = scale.log() + k.digamma() / power
        # With y = log((x / scale)^power) of the other: E y and E e^y.
        mean_y = other._log_gamma(mean_log)  # noqa: SLF001
        log_mean = other._log_gamma(scale.log()) + self._log_moment(slope)  # noqa: SLF001
        cross = m.lgamma() + mean_log + log_mean.exp() - slope.log() - m * mean_y
        return (cross - self._entropy()).to(self.scale.dtype)

    @property
    def _parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.concentration.double(), self.scale.double(), self.power.double()

    def _log_gamma(self, log_x: Tensor) -> Tensor:
        """log G of a value's logarithm."""
        _, scale, power = self._parameters
        return power * (log_x - scale.log())

    def _scaled(self, log_gamma: Tensor) -> Tensor:
        """The value of log G."""
        _, scale, power = self._parameters
        return (scale.log() + log_gamma / power).exp()

    def _log_moment(self, order: Tensor | float) -> Tensor:
        """log E[(x / scale)^order]."""
        k, _, power = self._parameters
        return (k + order / power).lgamma() - k.lgamma()

    def _entropy(self) -> Tensor:
        k, scale, power = self._parameters
        return scale.log() - power.log() + k.lgamma() + k + (1 / power - k) * k.digamma()

    def _draw(self, n: int, noise: Noise) -> Tensor:
        return draw_log_gamma(self.concentration, n, noise)

    def _attach(self, values: Tensor) -> Tensor:
        points = self._scaled(with_gamma_gradient(values, self.concentration))
        return points.clamp(min=smallest(self.scale.dtype)).to(self.scale.dtype)


register_kl(GeneralizedGamma, GeneralizedGamma)(GeneralizedGamma.kl_divergence)  # type: ignore[no-untyped-call]
