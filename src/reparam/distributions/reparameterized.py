"""What distributions share whose values come first and get their derivatives after."""

from abc import abstractmethod
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.types import _size

from reparam.noise import Noise


class Reparameterized(Distribution):
    """Draw values, then attach how they move with the parameters."""

    has_rsample = True

    def rsample(
        self,
        sample_shape: _size = torch.Size(),  # noqa: B008
        noise: Noise | None = None,
    ) -> Tensor:
        """Points `(*sample, *batch, *event)`, of exact first and second derivatives."""
        shape = torch.Size(sample_shape)
        return self._attach(self._values(shape, noise)).reshape(self._extended_shape(shape))

    def sample(
        self,
        sample_shape: _size = torch.Size(),  # noqa: B008
        noise: Noise | None = None,
    ) -> Tensor:
        shape = torch.Size(sample_shape)
        values = self._finish(self._values(shape, noise)).detach()
        return values.reshape(self._extended_shape(shape))

    def expand(self, batch_shape: _size, _instance: Any = None) -> Self:
        new: Self = self._get_checked_instance(type(self), _instance)  # type: ignore[no-untyped-call]
        batch = torch.Size(batch_shape)
        for name, constraint in self.arg_constraints.items():
            value = getattr(self, name)
            event = value.shape[value.ndim - constraint.event_dim :]
            setattr(new, name, value.expand(batch + event))
        Distribution.__init__(new, batch, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _level(self, value: Tensor) -> Tensor:
        """A level of the CDF in float64, for every row of the batch."""
        shape = self.batch_shape + self.event_shape
        shape = torch.broadcast_shapes(value.shape, shape)  # type: ignore[no-untyped-call]
        return value.double().expand(shape)

    def _values(self, shape: torch.Size, noise: Noise | None) -> Tensor:
        with torch.no_grad():
            # Forward-mode differentiation passes no_grad, but not detach.
            return self._draw(shape.numel(), noise or Noise()).detach()

    @abstractmethod
    def _draw(self, n: int, noise: Noise) -> Tensor:
        """Values `(n, *batch, *event)` in float64, perhaps standardized; of given u, quantiles."""

    @abstractmethod
    def _attach(self, values: Tensor) -> Tensor:
        """Points of the values in the parameters' dtype, with derivatives."""

    def _finish(self, values: Tensor) -> Tensor:
        """Points of the values, where they take no more than `_attach` without derivatives."""
        return self._attach(values)
