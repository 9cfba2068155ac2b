"""The survey's quadratic: x ~ N(1, 1), cost (x - k)^2 at k = 0 (Mohamed et al. 2020).

Ours by Gauss-Hermite quadrature over the uniforms Phi(e) that drive the estimators. Beside them the
measure-valued estimator, against variances worked out by hand: in the mean 16 / pi - 4 (one shared
Rayleigh deviation), in the scale 8 (Maxwell coupled with Normal).
"""

from math import pi

import torch
from benchmarks.published.options import Options
from benchmarks.published.quadrature import hermite, laguerre, legendre
from benchmarks.published.rows import Row, close, digits
from torch import Tensor
from torch.distributions import Normal

import reparam as rp
from reparam.baselines import Constant

PUBLISHED = {
    "mean": {"score": "30", "score, best baseline": "14", "pathwise": "4"},
    "scale": {"score": "136", "score, best baseline": "64", "pathwise": "12"},
}
MEASURE_VALUED = {"mean": 16 / pi - 4, "scale": 8.0}


def moments(estimator: rp.Estimator, which: str, u: Tensor, weights: Tensor) -> tuple[float, float]:
    """Mean and variance of a gradient over the rows of uniforms `(n or parts, ..., rows)`."""
    leaf = torch.ones(len(weights), dtype=torch.float64).requires_grad_()
    one = torch.ones_like(leaf)
    q = Normal(leaf, one) if which == "mean" else Normal(one, leaf)
    value = rp.expect(torch.square, q, estimator, noise=u)
    (g,) = torch.autograd.grad(value.sum(), leaf)
    mean = (weights * g).sum()
    return mean.item(), (weights * (g - mean).square()).sum().item()


def best_baseline(which: str) -> float:
    """E[f s^2] / E[s^2] for the score s."""
    e, w = hermite(10)
    s = e if which == "mean" else e.square() - 1
    return ((w * (1 + e).square() * s.square()).sum() / (w * s.square()).sum()).item()


def measure_valued(which: str) -> tuple[float, float]:
    """Over all the noise that the derivative uses; the other sources stand still."""
    if which == "mean":
        r, w = legendre(0, 8, 80)
        weights = w * r * (-r.square() / 2).exp()
        rayleigh = -torch.expm1(-r.square() / 2)
        half = torch.full_like(r, 0.5)
        u = torch.stack([half, rayleigh, half, half, half])
    else:
        axes = laguerre(10), hermite(10), legendre(0, 1, 4)
        e, x, v = (torch.cartesian_prod(*(a[0] for a in axes))).T
        weights = torch.cartesian_prod(*(a[1] for a in axes)).prod(-1)
        half = torch.full_like(e, 0.5)
        u = torch.stack([half, half, -torch.expm1(-e), torch.special.ndtr(x), v])
    return moments(rp.MeasureValued(), which, u.unsqueeze(1), weights)


def run(options: Options | None = None) -> list[Row]:
    """The block."""
    e, w = hermite(10)
    u = torch.special.ndtr(e).unsqueeze(0)
    rows = []
    for which, figures in PUBLISHED.items():
        ways = (rp.Score(), rp.Score(Constant(best_baseline(which))), rp.Pathwise())
        for estimator, (name, printed) in zip(ways, figures.items(), strict=True):
            mean, variance = moments(estimator, which, u, w)
            rows.append(digits(f"{which}, {name}: gradient", round(mean, 9), "2.000000"))
            rows.append(digits(f"{which}, {name}: variance", variance, f"{printed}.000000"))
        mean, variance = measure_valued(which)
        rows.append(close(f"{which}, measure-valued: gradient", mean, 2.0, 1e-6))
        what = f"{which}, measure-valued: variance"
        rows.append(close(what, variance, MEASURE_VALUED[which], 1e-6))
    return rows
