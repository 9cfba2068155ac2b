"""Moments of the Gumbel-Softmax gradient under a linear cost: integrated, not sampled."""

import math

import torch
from torch import Tensor

STEP = 0.3
LOW, HIGH = -36.0, 4.0
"""Where exp(x - exp(x)) falls below 1e-15: the ends of both integrals, in logarithms."""


def soft_moments(logits: Tensor, rewards: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Mean and variance, `(*batch, K)` each, of d (rewards . y) / d logits, for one sample y.

    logits, rewards: `(*batch, K)`, float64; tau at most 15. To 1e-12 of the second moments.

    The gradient y_i sum_j y_j (r_i - r_j) / tau is a polynomial in y = x / sum x, the x_j =
    exp((logit_j + G_j) / tau) independent. As S^-m is the integral of s^m exp(-s S) / Gamma(m)
    over log s, its moments are integrals over log s of products of the classes' own integrals.
    Both rules are trapezoidal and converge exponentially.

    >>> zero = torch.zeros(2, dtype=torch.float64)
    >>> mean, variance = soft_moments(zero, torch.tensor([1.0, 0.0], dtype=torch.float64), 1.0)
    >>> [round(x, 6) for x in (mean[0].item(), variance[0].item())]  # y is uniform: 1/6, 1/180
    [0.166667, 0.005556]
    """
    none, one, two = _class_integrals(logits, tau)
    together = none.prod(-1, keepdim=True) * STEP
    one, two = one / none, two / none
    apart = rewards.unsqueeze(-1) - rewards.unsqueeze(-2)
    linear = torch.einsum("...ij,t...j->t...i", apart, one)
    # (sum_j y_j (r_i - r_j))^2, whose terms y_j^2 have an integral of their own.
    square = linear.square() + torch.einsum(
        "...ij,t...j->t...i", apart.square(), two - one.square()
    )
    mean = (together * one * linear).sum(0) / tau
    second = (together * two * square).sum(0) / math.gamma(4) / tau**2
    return mean, second - mean.square()


def _class_integrals(logits: Tensor, tau: float) -> tuple[Tensor, Tensor, Tensor]:
    """E[(s x)^a exp(-s x)] of each class for a = 0, 1, 2: `(T, *batch, K)`, log s on a grid.

    The inner variable is log(s x), whose Gumbel noise has exp(-G) = e below.
    """
    least, most = logits.min().item(), logits.max().item()
    # G lies between -4 and 36, but for 1e-15 of the time.
    ends = LOW - (most + 36) / tau, HIGH + (4 - least) / tau
    log_s = torch.arange(*ends, STEP, dtype=torch.float64)
    scale = torch.exp(tau * log_s.reshape(-1, *[1] * logits.ndim) + logits)
    none, one, two = (torch.zeros_like(scale) for _ in range(3))
    step = STEP * min(1.0, 1 / tau)
    for k in range(int((HIGH - LOW) / step)):
        log_sx = LOW + k * step
        weight = math.exp(log_sx - math.exp(log_sx)) * step
        e = (scale * math.exp(-tau * log_sx)).clamp_(max=800.0)  # whose exp(-e) is 0
        below = torch.exp(-e)
        density = e.mul_(below).mul_(tau)
        none.add_(below, alpha=weight)  # E[exp(-s x)], by parts
        one.add_(density, alpha=weight)
        two.add_(density, alpha=weight * math.exp(log_sx))
    return none.clamp_(min=torch.finfo(none.dtype).tiny), one, two
