"""The logistic distribution: the noise of a relaxed Bernoulli, and a location-scale family."""

from math import pi

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all
from torch.nn.functional import softplus

from reparam.distributions.levels import between
from reparam.distributions.reparameterized import Reparameterized
from reparam.noise import Noise


class Logistic(Reparameterized):
    """Density e^-x / (s (1 + e^-x)^2) at x = (value - loc) / s; event shape ().

    loc, scale: real and positive, broadcast against each other to the batch shape.

    >>> Logistic(0.0, 1.0).icdf(torch.tensor(0.5)).item()
    0.0
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.real

    def __init__(
        self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return (pi * self.scale).square() / 3

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        x = ((value - self.loc) / self.scale).abs()
        return -x - 2 * softplus(-x) - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return torch.sigmoid((value - self.loc) / self.scale)

    def icdf(self, value: Tensor) -> Tensor:
        """Differentiable in the level and the parameters."""

        def quantile(level: Tensor) -> Tensor:
            return self.loc + self.scale * torch.logit(level)

        return between(-torch.inf, torch.inf, self._level(value), quantile).to(self.loc.dtype)

    def entropy(self) -> Tensor:
        return self.scale.log() + 2

    def _draw(self, n: int, noise: Noise) -> Tensor:
        return noise.logistic(n, self.loc)

    def _attach(self, values: Tensor) -> Tensor:
        return self.loc + self.scale * values.to(self.loc.dtype)
