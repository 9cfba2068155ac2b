"""The Dirichlet distribution, sampled in log space and differentiated to the last digits."""

import torch
from torch import Tensor, distributions
from torch.types import _size

from reparam.checks import working_dtype
from reparam.distributions.gamma import log_gamma
from reparam.distributions.relaxed import smallest
from reparam.noise import Noise


class Dirichlet(distributions.Dirichlet):
    """torch's Dirichlet, with accurate gradients, noise of one's own, and samples in log space.

    A sample is X / sum(X) of X_k ~ Gamma(alpha_k, 1), each of which moves as its quantile does
    (Figurnov et al. 2018, "Implicit Reparameterization Gradients", section 4, arXiv:1805.08498).
    Where an entry underflows, it is the smallest positive number; `log_rsample` has it in full.

    >>> q = Dirichlet(torch.full((3,), 1e-4))
    >>> q.log_rsample((1000,)).isfinite().all().item()
    True
    """

    def rsample(
        self,
        sample_shape: _size = torch.Size(),  # noqa: B008
        noise: Noise | None = None,
    ) -> Tensor:
        """Points `(*sample, *batch, K)`."""
        dtype = self.concentration.dtype
        return self._log_points(sample_shape, noise).exp().clamp(min=smallest(dtype)).to(dtype)

    def log_rsample(
        self,
        sample_shape: _size = torch.Size(),  # noqa: B008
        noise: Noise | None = None,
    ) -> Tensor:
        """Logarithms of points `(*sample, *batch, K)`, in float32 or float64."""
        return self._log_points(sample_shape, noise).to(working_dtype(self.concentration.dtype))

    def log_prob_of_log(self, value: Tensor) -> Tensor:
        """Log-density of the points, without a Jacobian, at their logarithms."""
        a = self.concentration
        return ((a - 1) * value).sum(-1) - log_normalizer(a)

    def _log_points(self, sample_shape: _size, noise: Noise | None) -> Tensor:
        shape = torch.Size(sample_shape)
        y = log_gamma(self.concentration, shape.numel(), noise or Noise())
        return torch.log_softmax(y, -1).reshape(self._extended_shape(shape))


def log_normalizer(concentration: Tensor) -> Tensor:
    """log B(alpha) of alpha `(*batch, K)`."""
    return torch.lgamma(concentration).sum(-1) - torch.lgamma(concentration.sum(-1))
