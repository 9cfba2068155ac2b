"""Variances of the score family on one Bernoulli, f(b) = (b - t)^2, against their closed forms.

Ours are integrals over the uniforms that drive the estimators: Gauss-Legendre between the points
where a sample changes, which is exact since the estimates are piecewise polynomials there.
"""

from itertools import pairwise, product

import torch
from benchmarks.published.options import Options
from benchmarks.published.quadrature import legendre
from benchmarks.published.rows import Row, close
from torch import Tensor
from torch.distributions import Bernoulli

import reparam as rp

P = (0.1, 0.5, 0.8)
T = (0.45, 0.499)
ESTIMATORS = {
    "REINFORCE": (rp.Score(), 1),
    "ARM": (rp.Arm(), 1),
    "DisARM": (rp.Disarm(), 1),
    "LOO-2": (rp.Rloo(), 2),
}


def closed_forms(p: float, t: float) -> dict[str, float]:
    """The published formulas, with q = 1 - p, D = 1 - 2t, s = max(p, q)."""
    q, d, s = 1 - p, 1 - 2 * t, max(p, 1 - p)
    f1, f0 = (1 - t) ** 2, t**2
    return {
        "REINFORCE": p * q * (q * f1**2 + p * f0**2) - (p * q * d) ** 2,
        "ARM": d**2 * (2 / 3 * (1 / 8 - (s - 1 / 2) ** 3) - (p * q) ** 2),
        "DisARM": d**2 * s**2 * (1 - s) * (s - 1 / 2),
        "LOO-2": d**2 * (p * q / 2) * (1 - 2 * p * q),
    }


def moments(estimator: rp.Estimator, n: int, p: float, t: float) -> tuple[float, float]:
    """Mean and variance of the gradient in the logit."""
    u, weights = nodes(p, n)
    logit = torch.tensor(p, dtype=torch.float64).logit()
    leaf = logit.expand(len(weights)).clone().requires_grad_()
    value = rp.expect(lambda b: (b - t) ** 2, Bernoulli(logits=leaf), estimator, n, noise=u)
    (g,) = torch.autograd.grad(value.sum(), leaf)
    mean = (weights * g).sum()
    return mean.item(), (weights * (g - mean).square()).sum().item()


def nodes(p: float, n: int) -> tuple[Tensor, Tensor]:
    """Uniforms `(n, rows)` and weights `(rows,)`."""
    edges = sorted({0.0, p, 1 - p, 1.0})
    parts = [legendre(a, b, 3) for a, b in pairwise(edges)]
    x, w = (torch.cat(part) for part in zip(*parts, strict=True))
    grid = torch.cartesian_prod(*[x] * n).reshape(-1, n)
    return grid.T, torch.cartesian_prod(*[w] * n).reshape(-1, n).prod(-1)


def run(options: Options | None = None) -> list[Row]:
    """The block."""
    rows = []
    for p, t in product(P, T):
        formulas = closed_forms(p, t)
        for name, (estimator, n) in ESTIMATORS.items():
            mean, variance = moments(estimator, n, p, t)
            what = f"{name}, p = {p}, t = {t}"
            rows.append(close(f"{what}: gradient", mean, (1 - 2 * t) * p * (1 - p), 1e-10))
            rows.append(close(f"{what}: variance", variance, formulas[name], 1e-10))
    return rows
