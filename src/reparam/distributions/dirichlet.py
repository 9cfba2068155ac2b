"""The Dirichlet distribution, sampled in log space and differentiated to the last digits."""

import torch
from torch import Tensor, distributions

from reparam.distributions.gamma import log_gamma
from reparam.distributions.log_space import LogSpaceSampled
from reparam.noise import Noise


class Dirichlet(LogSpaceSampled, distributions.Dirichlet):
    """torch's Dirichlet, with accurate gradients, noise of one's own, and samples in log space.

    A sample is X / sum(X) of X_k ~ Gamma(alpha_k, 1), each of which moves as its quantile does
    (Figurnov et al. 2018, "Implicit Reparameterization Gradients", section 4, arXiv:1805.08498).
    Where an entry underflows, it is the smallest positive number; `log_rsample` has it in full.

    >>> q = Dirichlet(torch.full((3,), 1e-4))
    >>> q.log_rsample((1000,)).isfinite().all().item()
    True
    """

    def log_prob_of_log(self, value: Tensor) -> Tensor:
        """Log-density of the points, without a Jacobian, at their logarithms."""
        a = self.concentration
        return ((a - 1) * value).sum(-1) - log_normalizer(a)

    @property
    def _dtype(self) -> torch.dtype:
        return self.concentration.dtype

    def _log_points(self, shape: torch.Size, noise: Noise) -> Tensor:
        y = log_gamma(self.concentration, shape.numel(), noise)
        return torch.log_softmax(y, -1).reshape(self._extended_shape(shape))


def log_normalizer(concentration: Tensor) -> Tensor:
    """log B(alpha) of alpha `(*batch, K)`."""
    return torch.lgamma(concentration).sum(-1) - torch.lgamma(concentration.sum(-1))
