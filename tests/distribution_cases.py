"""The univariate continuous distributions of the library, and scipy's truth about each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch import distributions as D

from reparam import distributions as R

INFINITY = float("inf")


@dataclass(frozen=True)
class Case:
    """A distribution at its parameters.

    build: of parameter tensors of one shape. law: scipy's, of their values.
    ends: numbers of the parameters that move an end of the support, where the score has no say.
    heavy: tails too heavy for E[x^2].
    """

    build: Callable[..., D.Distribution]
    params: tuple[float, ...]
    law: Callable[..., Any]
    ends: tuple[int, ...] = field(default=())
    heavy: bool = False

    def leaves(self, dtype: torch.dtype = torch.float64, device: str = "cpu") -> list[Tensor]:
        """The parameters, to be differentiated."""
        return [
            torch.tensor(p, dtype=dtype, device=device, requires_grad=True) for p in self.params
        ]


class MixtureLaw:
    """Of two laws."""

    def __init__(self, weight: float, one: Any, other: Any) -> None:
        self.parts = (weight, one), (1 - weight, other)

    def cdf(self, x: Any) -> Any:
        return sum(weight * law.cdf(x) for weight, law in self.parts)

    def logpdf(self, x: Any) -> Any:
        return np.log(sum(weight * law.pdf(x) for weight, law in self.parts))


def _mixture(kind: Callable[..., D.Distribution]) -> Callable[..., D.Distribution]:
    def build(logit: Tensor, loc: Tensor, other: Tensor, scale: Tensor) -> D.Distribution:
        logits = torch.stack([logit, torch.zeros_like(logit)], -1)
        components = kind(torch.stack([loc, other], -1), torch.stack([scale, 2 * scale], -1))
        return R.MixtureSameFamily(D.Categorical(logits=logits), components)

    return build


def _mixture_law(kind: Any) -> Callable[..., MixtureLaw]:
    return lambda logit, loc, other, scale: MixtureLaw(
        float(1 / (1 + np.exp(-logit))), kind(loc, scale), kind(other, 2 * scale)
    )


def _truncnorm(loc: float, scale: float, low: float, high: float = INFINITY) -> Any:
    return stats.truncnorm((low - loc) / scale, (high - loc) / scale, loc, scale)


CASES = {
    "logistic": Case(R.Logistic, (-0.5, 0.7), stats.logistic),
    "von Mises": Case(R.VonMises, (0.4, 1.7), lambda m, k: stats.vonmises(k, m), ends=(0,)),
    "von Mises, flat": Case(R.VonMises, (0.4, 1e-4), lambda m, k: stats.vonmises(k, m), ends=(0,)),
    "von Mises, sharp": Case(R.VonMises, (0.4, 40.0), lambda m, k: stats.vonmises(k, m), ends=(0,)),
    "truncated normal": Case(R.TruncatedNormal, (0.3, 1.4, -0.8, 2.0), _truncnorm, ends=(2, 3)),
    "truncated normal, above": Case(
        lambda m, s, a: R.TruncatedNormal(m, s, a, INFINITY), (0.3, 1.4, 1.0), _truncnorm, ends=(2,)
    ),
    "truncated normal, below": Case(
        lambda m, s, b: R.TruncatedNormal(m, s, -INFINITY, b),
        (0.3, 1.4, 1.0),
        lambda m, s, b: _truncnorm(m, s, -INFINITY, b),
        ends=(2,),
    ),
    "truncated normal, 12 scales out": Case(
        R.TruncatedNormal, (0.3, 0.5, -9.0, -5.7), _truncnorm, ends=(2, 3)
    ),
    "inverse Gaussian": Case(
        R.InverseGaussian, (0.8, 2.5), lambda m, c: stats.invgauss(m / c, scale=c)
    ),
    "mixture of normals": Case(_mixture(D.Normal), (0.6, -1.2, 1.1, 0.5), _mixture_law(stats.norm)),
    "mixture of logistics": Case(
        _mixture(R.Logistic), (-0.4, -0.9, 0.7, 0.4), _mixture_law(stats.logistic)
    ),
    "implicit lognormal": Case(
        lambda m, s: R.Implicit(D.LogNormal(m, s)),
        (0.3, 0.5),
        lambda m, s: stats.lognorm(s, scale=np.exp(m)),
    ),
    "implicit by its cdf": Case(
        lambda rate: R.Implicit(
            cdf=lambda x: -torch.expm1(-rate * x), support=D.constraints.positive
        ),
        (0.7,),
        lambda rate: stats.expon(scale=1 / rate),
    ),
    "gamma": Case(R.Gamma, (1.8, 0.7), lambda a, rate: stats.gamma(a, scale=1 / rate)),
    "generalized gamma": Case(
        R.GeneralizedGamma, (1.8, 0.7, 1.6), lambda k, scale, p: stats.gengamma(k, p, scale=scale)
    ),
    "beta": Case(R.Beta, (1.8, 2.7), stats.beta),
    "student": Case(R.StudentT, (4.5, 0.3, 1.2), stats.t, heavy=True),
}
