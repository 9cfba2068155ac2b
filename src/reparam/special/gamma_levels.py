"""The distribution function of the Gamma distribution and its inverse, in log space: y = log X.

Both are differentiable in everything: the concentration too, which torch's `gammainc` refuses.
"""

import torch
from torch import Tensor
from torch.distributions.utils import broadcast_all

from reparam.special.implicit import at_fixed_quantile
from reparam.special.incomplete_gamma import gamma_log_quantile, gamma_slope

_SMALL = 1e-30


def gamma_cdf_of_log(y: Tensor, alpha: Tensor) -> Tensor:
    """P(log X <= y) of X ~ Gamma(alpha, 1); in float64, to the 1e-9 of torch's; broadcasts.

    >>> round(gamma_cdf_of_log(torch.tensor(2.0).log(), torch.tensor(1.0)).item(), 7)  # 1 - e^-2
    0.8646647
    """
    y, alpha = broadcast_all(y.double(), alpha.double())

    def slopes(_: Tensor, y: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        density = _log_density(y, alpha).exp()
        return density, -density * gamma_slope(y, alpha)

    a, x = alpha.detach(), y.detach().exp()
    # Where x underflows, it is a power of it.
    power_law = torch.exp(a * y.detach() - torch.lgamma(a + 1))
    below = torch.where(x < _SMALL, power_law, torch.special.gammainc(a, x))
    return at_fixed_quantile(below, slopes, y, alpha)


def gamma_log_icdf(level: Tensor, alpha: Tensor) -> Tensor:
    """y with P(log X <= y) = level in (0, 1); in float64; broadcasts.

    >>> y = gamma_log_icdf(torch.tensor(0.5), torch.tensor(1.0))
    >>> round(y.exp().item(), 14)  # log 2
    0.69314718055995
    """
    level, alpha = broadcast_all(level.double(), alpha.double())

    def slopes(y: Tensor, _: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        return (-_log_density(y, alpha)).exp(), gamma_slope(y, alpha)

    return at_fixed_quantile(gamma_log_quantile(level, alpha), slopes, level, alpha)


def _log_density(y: Tensor, alpha: Tensor) -> Tensor:
    return alpha * y - y.exp() - torch.lgamma(alpha)
