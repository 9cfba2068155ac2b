"""The generalized gamma distribution: Gamma, Weibull, chi, half-normal and more in one."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import broadcast_all
from torch.types import _size

from reparam.distributions.gamma import log_gamma
from reparam.distributions.relaxed import smallest
from reparam.noise import Noise


class GeneralizedGamma(Distribution):
    """scale G^(1 / power), G ~ Gamma(concentration, 1); event shape ().

    Stacy 1962, "A generalization of the gamma distribution", doi:10.1214/aoms/1177704481, with
    d / p there as the concentration. power = 1 is Gamma, concentration = 1 Weibull,
    concentration = 1/2 with power = 2 half-normal.

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
    has_rsample = True

    def __init__(
        self,
        concentration: Tensor | float,
        scale: Tensor | float,
        power: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        self.concentration, self.scale, self.power = broadcast_all(concentration, scale, power)
        super().__init__(self.scale.shape, validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> "GeneralizedGamma":
        new: GeneralizedGamma = self._get_checked_instance(GeneralizedGamma, _instance)  # type: ignore[no-untyped-call]
        for name in self.arg_constraints:
            setattr(new, name, getattr(self, name).expand(batch_shape))
        super(GeneralizedGamma, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        return self.scale * self._log_moment(1).exp()

    @property
    def mode(self) -> Tensor:
        least = (self.concentration - 1 / self.power).clamp(min=0)
        return self.scale * least ** (1 / self.power)

    @property
    def variance(self) -> Tensor:
        first, second = self._log_moment(1), self._log_moment(2)
        return self.scale.square() * (2 * first).exp() * torch.expm1(second - 2 * first)

    def rsample(
        self,
        sample_shape: _size = torch.Size(),  # noqa: B008
        noise: Noise | None = None,
    ) -> Tensor:
        """Points `(*sample, *batch)`; where one underflows, the smallest positive number."""
        shape = torch.Size(sample_shape)
        log_g = log_gamma(self.concentration, shape.numel(), noise or Noise())
        points = (self.scale.double().log() + log_g / self.power.double()).exp()
        dtype = self.scale.dtype
        return points.clamp(min=smallest(dtype)).to(dtype).reshape(self._extended_shape(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        k, log_x = self.concentration, (value / self.scale).log()
        y = self.power * log_x
        return self.power.log() + k * y - y.exp() - k.lgamma() - value.log()

    def cdf(self, value: Tensor) -> Tensor:
        """Not differentiable in the concentration."""
        if self._validate_args:
            self._validate_sample(value)
        x = (value / self.scale) ** self.power
        below: Tensor = torch.special.gammainc(self.concentration, x)
        return below

    def entropy(self) -> Tensor:
        k = self.concentration
        rest = k.lgamma() + k + (1 / self.power - k) * k.digamma()
        return self.scale.log() - self.power.log() + rest

    def _log_moment(self, order: int) -> Tensor:
        """log E[(x / scale)^order]."""
        return (self.concentration + order / self.power).lgamma() - self.concentration.lgamma()
