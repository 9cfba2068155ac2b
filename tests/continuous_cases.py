"""Univariate continuous distributions: torch's, scipy's, and expectations in closed form."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import torch
from scipy import stats
from torch import Tensor
from torch import distributions as D

from reparam.distributions import Logistic

COSTS: dict[str, Callable[[Tensor], Tensor]] = {
    "x": lambda x: x,
    "x^2": torch.square,
    "sin x": torch.sin,
    "1/x": lambda x: 1 / x,
    "1/x^2": lambda x: 1 / x.square(),
    "1/(1+x^2)": lambda x: 1 / (1 + x.square()),
    "x/(1+x^2)": lambda x: x / (1 + x.square()),
}


class KumaraswamyLaw:
    """F(x) = 1 - (1 - x^a)^b, which scipy lacks."""

    def __init__(self, a: float, b: float) -> None:
        self.a, self.b = a, b

    def cdf(self, x: Any) -> Any:
        return 1 - (1 - x**self.a) ** self.b

    def ppf(self, u: Any) -> Any:
        return (1 - (1 - u) ** (1 / self.b)) ** (1 / self.a)

    def isf(self, u: Any) -> Any:
        return (1 - u ** (1 / self.b)) ** (1 / self.a)


@dataclass(frozen=True)
class Case:
    """A distribution at its parameters, and the truth about it.

    law: scipy's, of the parameters. truths: E[cost] by cost, a function of the parameters.
    """

    build: Callable[..., D.Distribution]
    params: tuple[float, ...]
    law: Callable[..., Any]
    truths: dict[str, Callable[..., Any]]

    def q(self, dtype: torch.dtype = torch.float64) -> tuple[D.Distribution, list[Tensor]]:
        """Torch's distribution, and its parameters as leaves."""
        leaves = [torch.tensor(p, dtype=dtype, requires_grad=True) for p in self.params]
        return self.build(*leaves), leaves


def integral(density: Callable[..., Any], *points: float) -> Callable[..., Any]:
    """E[sin x] by adaptive quadrature of a density over the intervals between the points."""
    return lambda *params: mp.quad(lambda x: mp.sin(x) * density(x, *params), points)


def _lognormal(x: Any, m: Any, s: Any) -> Any:
    return mp.npdf((mp.log(x) - m) / s) / (s * x)


def _weibull(x: Any, scale: Any, k: Any) -> Any:
    return k / scale * (x / scale) ** (k - 1) * mp.exp(-((x / scale) ** k))


def _kumaraswamy(x: Any, a: Any, b: Any) -> Any:
    return a * b * x ** (a - 1) * (1 - x**a) ** (b - 1)


CASES = {
    "normal": Case(
        D.Normal,
        (0.4, 1.3),
        stats.norm,
        {
            "x": lambda m, s: m,
            "x^2": lambda m, s: m**2 + s**2,
            "sin x": lambda m, s: mp.exp(-(s**2) / 2) * mp.sin(m),
        },
    ),
    "lognormal": Case(
        D.LogNormal,
        (0.3, 0.5),
        lambda m, s: stats.lognorm(s, scale=float(mp.exp(m))),
        {
            "x": lambda m, s: mp.exp(m + s**2 / 2),
            "x^2": lambda m, s: mp.exp(2 * m + 2 * s**2),
            "sin x": integral(_lognormal, 0, 0.5, 1, 2, 4, 8, 16, 40),
        },
    ),
    "logistic": Case(
        Logistic,
        (-0.5, 0.7),
        stats.logistic,
        {
            "x": lambda m, s: m,
            "x^2": lambda m, s: m**2 + (mp.pi * s) ** 2 / 3,
            "sin x": lambda m, s: mp.sin(m) * mp.pi * s / mp.sinh(mp.pi * s),
        },
    ),
    "laplace": Case(
        D.Laplace,
        (0.8, 1.7),
        stats.laplace,
        {
            "x": lambda m, s: m,
            "x^2": lambda m, s: m**2 + 2 * s**2,
            "sin x": lambda m, s: mp.sin(m) / (1 + s**2),
        },
    ),
    "exponential": Case(
        D.Exponential,
        (0.7,),
        lambda rate: stats.expon(scale=1 / rate),
        {
            "x": lambda rate: 1 / rate,
            "x^2": lambda rate: 2 / rate**2,
            "sin x": lambda rate: rate / (1 + rate**2),
        },
    ),
    "gumbel": Case(
        D.Gumbel,
        (-0.6, 0.9),
        stats.gumbel_r,
        {
            "x": lambda m, s: m + mp.euler * s,
            "x^2": lambda m, s: (m + mp.euler * s) ** 2 + (mp.pi * s) ** 2 / 6,
            "sin x": lambda m, s: mp.im(mp.gamma(1 - 1j * s) * mp.expj(m)),
        },
    ),
    "uniform": Case(
        D.Uniform,
        (-0.4, 2.1),
        lambda a, b: stats.uniform(a, b - a),
        {
            "x": lambda a, b: (a + b) / 2,
            "x^2": lambda a, b: (a * a + a * b + b * b) / 3,
            "sin x": lambda a, b: (mp.cos(a) - mp.cos(b)) / (b - a),
        },
    ),
    "cauchy": Case(
        D.Cauchy,
        (0.6, 1.4),
        stats.cauchy,
        {
            "1/(1+x^2)": lambda m, s: (1 + s) / ((1 + s) ** 2 + m**2),
            "x/(1+x^2)": lambda m, s: m / ((1 + s) ** 2 + m**2),
        },
    ),
    "half-normal": Case(
        D.HalfNormal,
        (1.2,),
        lambda s: stats.halfnorm(scale=s),
        {
            "x": lambda s: s * mp.sqrt(2 / mp.pi),
            "x^2": lambda s: s**2,
            "sin x": lambda s: mp.exp(-(s**2) / 2) * mp.erfi(s / mp.sqrt(2)),
        },
    ),
    "half-cauchy": Case(
        D.HalfCauchy,
        (1.6,),
        lambda s: stats.halfcauchy(scale=s),
        {
            "1/(1+x^2)": lambda s: 1 / (1 + s),
            "x/(1+x^2)": lambda s: 2 * s * mp.log(s) / (mp.pi * (s**2 - 1)),
        },
    ),
    "weibull": Case(
        D.Weibull,
        (1.4, 1.8),
        lambda scale, k: stats.weibull_min(k, scale=scale),
        {
            "x": lambda scale, k: scale * mp.gamma(1 + 1 / k),
            "x^2": lambda scale, k: scale**2 * mp.gamma(1 + 2 / k),
            "sin x": integral(_weibull, 0, 0.5, 1, 2, 4, 8, 12),
        },
    ),
    "pareto": Case(
        D.Pareto,
        (0.8, 2.5),
        lambda scale, alpha: stats.pareto(alpha, scale=scale),
        {
            "1/x": lambda scale, alpha: alpha / (alpha + 1) / scale,
            "1/x^2": lambda scale, alpha: alpha / (alpha + 2) / scale**2,
        },
    ),
    "kumaraswamy": Case(
        D.Kumaraswamy,
        (1.5, 2.3),
        KumaraswamyLaw,
        {
            "x": lambda a, b: b * mp.beta(1 + 1 / a, b),
            "x^2": lambda a, b: b * mp.beta(1 + 2 / a, b),
            "sin x": integral(_kumaraswamy, 0, 0.25, 0.5, 0.75, 1),
        },
    ),
}
