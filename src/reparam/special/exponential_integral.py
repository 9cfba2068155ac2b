"""The exponential integral, scaled: it neither overflows, nor do its derivatives cancel."""

import torch
from torch import Tensor

_STEP = 0.25
_LOW, _HIGH = -38.0, 4.0


def scaled_exponential_integral(x: Tensor) -> Tensor:
    """e^x E_1(x) of x > 0, `(*batch)`; in float64, to 1e-14, and so are its derivatives.

    That is the integral of e^-t / (x + t) over t > 0, https://dlmf.nist.gov/6.2.E2; by parts, that
    of log(1 + t / x) e^-t. By the trapezoidal rule in log t, whose error falls as e^(-pi^2 / step)
    for every x, as the integrand is analytic where |Im log t| < pi / 2.

    >>> round(scaled_exponential_integral(torch.ones(())).item(), 13)
    0.5963473623232
    """
    x = x.double().unsqueeze(-1)
    log_t = torch.arange(_LOW, _HIGH, _STEP, dtype=x.dtype, device=x.device)
    t = log_t.exp()
    return (torch.log1p(t / x) * (log_t - t).exp()).sum(-1) * _STEP
