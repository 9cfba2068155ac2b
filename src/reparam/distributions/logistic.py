"""The logistic distribution: the noise of a relaxed Bernoulli, and a location-scale family."""

from math import pi
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import broadcast_all
from torch.nn.functional import softplus
from torch.types import _size

from reparam.noise import Noise


class Logistic(Distribution):
    """Density e^-x / (s (1 + e^-x)^2) at x = (value - loc) / s; event shape ().

    loc, scale: real and positive, broadcast against each other to the batch shape.

    >>> Logistic(0.0, 1.0).icdf(torch.tensor(0.5)).item()
    0.0
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.real
    has_rsample = True

    def __init__(
        self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> "Logistic":
        new: Logistic = self._get_checked_instance(Logistic, _instance)  # type: ignore[no-untyped-call]
        new.loc, new.scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        super(Logistic, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return (pi * self.scale).square() / 3

    def rsample(self, sample_shape: _size = torch.Size()) -> Tensor:  # noqa: B008
        shape = torch.Size(sample_shape)
        noise = Noise().logistic(shape.numel(), self.loc).reshape(self._extended_shape(shape))
        return self.loc + self.scale * noise.to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        x = ((value - self.loc) / self.scale).abs()
        return -x - 2 * softplus(-x) - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        return torch.sigmoid((value - self.loc) / self.scale)

    def icdf(self, value: Tensor) -> Tensor:
        return self.loc + self.scale * torch.logit(value)

    def entropy(self) -> Tensor:
        return self.scale.log() + 2
