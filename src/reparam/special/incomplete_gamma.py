"""The Gamma distribution in log space: y = log X, X ~ Gamma(alpha, 1).

Its density f(y) = e^(alpha y - e^y) / Gamma(alpha) is log-concave for every alpha. By quadrature
over a tail relative to f at its end, where nothing under- or overflows, and nothing cancels: below
digamma(alpha + 1) on the left, above on the right. The slow decay to the left of a small alpha is
taken out by F(alpha) = F(alpha + 1) + f(alpha) / alpha.
"""

import torch
from torch import Tensor
from torch.distributions.utils import broadcast_all

from reparam.special.implicit import at_fixed_quantile, in_chunks, invert
from reparam.special.tails import FINE, Rule, rule_for, tail_integrals

_STEPS = 8  # 6 give 1e-12 for alpha from 1e-6 to 1e6 and u from 1e-300 to 1 - 1e-16


def gamma_slope(y: Tensor, alpha: Tensor, rule: Rule = FINE) -> Tensor:
    """dy/dalpha > 0 at a fixed quantile; in float64, differentiable; broadcasts.

    Relative error below 1e-12 for alpha from 1e-6 to 1e6; by the COARSE rule, below 1e-7.

    >>> gamma_slope(torch.tensor(-1e9), torch.tensor(0.5)).item()  # (digamma(1.5) - y) / 0.5
    2000000000.07298
    """
    y, alpha = broadcast_all(y.double(), alpha.double())
    psi = torch.digamma(alpha + 1)
    low = y < psi
    x, shape = y.exp(), alpha + low
    # By dF/dalpha = the integral of (s - digamma(alpha)) f(s) ds.
    start = y - torch.where(low, psi, psi - 1 / alpha)
    mass, first = _integrals(x, shape, low, rule)
    slope = start * mass + first
    return torch.where(low, (x * slope - start) / alpha, slope)


def with_gamma_gradient(y: Tensor, alpha: Tensor) -> Tensor:
    """y as it is, a function of alpha (broadcast to it) at a fixed quantile; in float64.

    The gradient has the digits of alpha's dtype.
    """
    rule = rule_for(alpha.dtype)
    return at_fixed_quantile(y, in_chunks(lambda y, alpha: (gamma_slope(y, alpha, rule),)), alpha)


def gamma_log_quantile(u: Tensor, alpha: Tensor) -> Tensor:
    """y with F(y; alpha) = u in (0, 1); in float64, without a gradient; broadcasts.

    >>> x = gamma_log_quantile(torch.tensor(0.5), torch.tensor(1.0)).exp()
    >>> round(x.item(), 14)  # log 2
    0.69314718055995
    """
    with torch.no_grad():
        return in_chunks(_quantile)(*broadcast_all(u.double(), alpha.double()))[0]


def _quantile(u: Tensor, alpha: Tensor) -> tuple[Tensor]:
    split = torch.digamma(alpha + 1)
    low = u < _tail(split, alpha, torch.ones_like(u, dtype=torch.bool))[0].exp()
    target = torch.where(low, u.log(), torch.log1p(-u))
    inwards = torch.where(low, 1.0, -1.0).to(u)
    x = invert(
        lambda x: _tail(inwards * x, alpha, low),
        inwards * _guess(u, alpha),
        inwards * split,
        target,
        _STEPS,
    )
    return (inwards * x,)


def _tail(y: Tensor, alpha: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """log F and F / f where low, else log(1 - F) and (1 - F) / f."""
    x = y.exp()
    ratio = _integrals(x, alpha + low, low, FINE)[0].abs()
    ratio = torch.where(low, (1 + x * ratio) / alpha, ratio)
    return alpha * y - x - torch.lgamma(alpha) + ratio.log(), ratio


def _integrals(x: Tensor, shape: Tensor, low: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
    """The integrals of f(y + r) / f(y) and of r times it, from r = 0 outwards: left where low."""

    def density(r: Tensor) -> tuple[Tensor]:
        return ((shape * r).sub_(torch.expm1(r).mul_(x)).exp_(),)

    return tail_integrals(density, _reach(x.detach(), shape.detach(), low, rule.nats), rule)[0]


def _reach(x: Tensor, shape: Tensor, low: Tensor, nats: float) -> Tensor:
    """An r, not much too large, at which f(y + r) / f(y) < e^-nats."""
    slope = x - shape
    # Below, e^r - 1 - r >= r^2 / (2 - r) leaves a quadratic equation.
    left = nats + 2 * slope
    below = (left + torch.sqrt(left * left + 8 * shape * nats)) / (2 * shape)
    # Above, e^r - 1 - r >= r^2 / 2 does, whose root x (e^r - 1) = nats + shape r improves.
    above = (torch.sqrt(slope * slope + 2 * x * nats) - slope) / x
    above = torch.minimum(above, torch.log1p((nats + shape * above) / x))
    return torch.where(low, -below, above)


def _guess(u: Tensor, alpha: Tensor) -> Tensor:
    """From F < e^(alpha y) / Gamma(alpha + 1), and Wilson & Hilferty 1931 for alpha >= 1."""
    bound = (u.log() + torch.lgamma(alpha + 1)) / alpha
    root = 1 - 1 / (9 * alpha) + torch.special.ndtri(u) / (3 * alpha.sqrt())
    guess = alpha.log() + 3 * root.clamp(min=torch.finfo(u.dtype).tiny).log()
    return torch.where(alpha < 1, bound, torch.maximum(bound, guess))
