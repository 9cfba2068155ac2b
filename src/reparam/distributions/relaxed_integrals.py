"""The integrals in the entropies and divergences of relaxed distributions, in float64.

By the trapezoidal rule, whose error for a function analytic in a strip |Im x| < c falls as
exp(-2 pi c / step): Trefethen & Weideman 2014, "The exponentially convergent trapezoidal rule",
theorem 5.1, doi:10.1137/130932132. Each integral is written so that c is at least pi / 2 whatever
the parameters, with ends where the integrand has vanished; so the nodes are fixed.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

EULER = 0.57721566490153286  # the mean of a Gumbel variable


def mean_distance(a: Tensor, t: Tensor) -> Tensor:
    """E|a + L + t L'|, L and L' i.i.d. Logistic(0, 1), elementwise; to 1e-14 of its value.

    E|b + L| = |b| + 2 softplus(-|b|), and the rule integrates over the narrower of the two.
    """
    wide, narrow = _wide_and_narrow(t)
    x, step = _nodes(a, -44.0, 44.0, 0.5)
    density = (-x.abs() - 2 * softplus(-x.abs())).exp()
    b = ((a / wide).unsqueeze(-1) + (narrow / wide).unsqueeze(-1) * x).abs()
    return wide * ((b + 2 * softplus(-b)) * density).sum(-1) * step


def mean_maximum(a: Tensor, t: Tensor, excluded: Tensor) -> Tensor:
    """E max_k (a_k + G_k + t G'_k), all G i.i.d. Gumbel(0, 1): a `(*batch, K)`, t `(*batch)`.

    To 1e-8 max(1, t). The maximum falls below m with probability prod_k F(m - a_k), F the
    distribution function of G + t G', itself an integral: 6,000 numbers are held for each class.
    """
    wide, narrow = (x.unsqueeze(-1) for x in _wide_and_narrow(t))
    scaled = (a / wide).masked_fill(excluded, -torch.inf)
    total = torch.logsumexp(scaled, -1, keepdim=True)
    r, step = _nodes(a, -6.0, 28.0, 0.4)
    x = r.unsqueeze(-1) - (scaled - total).masked_fill(excluded, 0).unsqueeze(-2)
    log_e, _ = _nodes(a, -26.0, 3.7, 0.4)  # -G' is the logarithm of an exponential variable
    weights = torch.softmax(log_e - log_e.exp(), -1)
    shift = (narrow / wide)[..., None, None] * log_e
    below = ((-(-x.unsqueeze(-1) - shift).exp()).exp() * weights).sum(-1)
    log_below = below.clamp(min=torch.finfo(a.dtype).tiny).log()
    all_below = log_below.masked_fill(excluded.unsqueeze(-2), 0).sum(-1).exp()
    # Without G', the maximum is Gumbel about `total`: the rule integrates the difference.
    excess = ((-(-r).exp()).exp() - all_below).sum(-1) * step
    return wide.squeeze(-1) * (total.squeeze(-1) + EULER + excess)


def mean_log_mixture(log_w: Tensor, excluded: Tensor) -> Tensor:
    """E log(sum_k w_k E_k) - E log((1/K) sum_k E_k), E_k i.i.d. Exponential(1), sum_k w_k = 1.

    log_w `(*batch, K)`, K classes that are not excluded; to 1e-14. As log S is the integral of
    (e^-s - e^(-s S)) ds / s (Frullani's), over log s, and E e^(-s E) = 1 / (1 + s).
    """
    k = (~excluded).sum(-1, keepdim=True).to(log_w.dtype)
    log_s, step = _nodes(log_w, -20.0, 37.0, 0.3)
    even = k * softplus(log_s - k.log())
    each = softplus(log_w.masked_fill(excluded, -torch.inf).unsqueeze(-1) + log_s)
    return ((-even).exp() - (-each.sum(-2)).exp()).sum(-1) * step


def _wide_and_narrow(t: Tensor) -> tuple[Tensor, Tensor]:
    """max(1, t) and min(1, t), with half the gradient each at 1, as symmetry has it."""
    one = torch.ones_like(t)
    return torch.maximum(t, one), torch.minimum(t, one)


def _nodes(like: Tensor, low: float, high: float, step: float) -> tuple[Tensor, float]:
    return torch.arange(low, high, step, dtype=like.dtype, device=like.device), step
