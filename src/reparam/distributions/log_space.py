"""What distributions share whose points are drawn in log space, where none is too small."""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.types import _size

from reparam.checks import working_dtype
from reparam.distributions.relaxed import smallest
from reparam.noise import Noise


class LogSpaceSampled(Distribution):
    """Samples and their logarithms, from `_log_points` in float64."""

    def rsample(
        self,
        sample_shape: _size = torch.Size(),  # noqa: B008
        noise: Noise | None = None,
    ) -> Tensor:
        """Points `(*sample, *batch, *event)`."""
        points = self._from_log(self._log_points(torch.Size(sample_shape), noise or Noise()))
        return points.clamp(min=smallest(self._dtype)).to(self._dtype)

    def sample(
        self,
        sample_shape: _size = torch.Size(),  # noqa: B008
        noise: Noise | None = None,
    ) -> Tensor:
        # torch 2.14 asks `rsample` for a generator here.
        with torch.no_grad():
            return self.rsample(sample_shape, noise)

    def log_rsample(
        self,
        sample_shape: _size = torch.Size(),  # noqa: B008
        noise: Noise | None = None,
    ) -> Tensor:
        """Log-space values of points `(*sample, *batch, *event)`, in float32 or float64."""
        log = self._log_points(torch.Size(sample_shape), noise or Noise())
        return log.to(working_dtype(self._dtype))

    @property
    @abstractmethod
    def _dtype(self) -> torch.dtype:
        """The dtype of points."""

    @abstractmethod
    def _log_points(self, shape: torch.Size, noise: Noise) -> Tensor:
        """Log-space values `(*shape, *batch, *event)`, in float64, with their gradient."""

    def _from_log(self, log: Tensor) -> Tensor:
        """Points of log-space values, in float64."""
        return log.exp()
