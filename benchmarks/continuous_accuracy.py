"""How exact the gradients of continuous samples are: their largest relative error on a small grid.

Against -(dF / dtheta) / p, with mpmath's distribution functions differentiated in 50 digits.
"""

from collections.abc import Callable, Sequence
from typing import Any

import mpmath as mp
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal

from reparam.distributions import MixtureSameFamily, StudentT, VonMises
from reparam.noise import Noise
from reparam.special.incomplete_beta import beta_logit_quantile, with_beta_gradient
from reparam.special.incomplete_gamma import gamma_log_quantile, with_gamma_gradient

LEVELS = torch.tensor([0.001, 0.1, 0.4, 0.7, 0.99], dtype=torch.float64)
# All parameters are numbers of float32 too.
GAMMAS = [(0.125,), (0.75,), (2.5,), (30.0,), (1000.0,)]
BETAS = [(0.125, 0.5), (0.5, 0.5), (2.0, 3.0), (0.125, 50.0), (100.0, 200.0)]
STUDENTS = [(0.75,), (4.0,), (50.0,)]
VON_MISES = [(0.125,), (2.0,), (100.0,)]
LOC, SCALE, WEIGHTS = [-0.5, 0.25, 1.0], [0.75, 1.0, 0.625], [0.25, 0.5, 0.25]

Row = Sequence[float]


def _gamma(alpha: Any, x: Any) -> Any:
    """P(X <= x), as those below."""
    return mp.gammainc(alpha, 0, x, regularized=True)


def _beta(a: Any, b: Any, x: Any) -> Any:
    return mp.betainc(a, b, 0, x, regularized=True)


def _student(df: Any, t: Any) -> Any:
    tail = mp.betainc(df / 2, mp.mpf(1) / 2, 0, df / (df + t * t), regularized=True) / 2
    return tail if t < 0 else 1 - tail


def _von_mises(kappa: Any, x: Any) -> Any:
    width = 1 / mp.sqrt(kappa + 1)
    cuts = [c for c in (width * k for k in range(-12, 13)) if -mp.pi < c < x]
    mass = mp.quad(lambda t: mp.exp(kappa * (mp.cos(t) - 1)), [-mp.pi, *cuts, x])
    return mass / (2 * mp.pi * mp.besseli(0, kappa) * mp.exp(-kappa))


def _mixture(*numbers: Any) -> Any:
    *parameters, x = numbers
    loc, scale = parameters[:3], parameters[3:]
    return sum(w * mp.ncdf((x - m) / s) for w, m, s in zip(WEIGHTS, loc, scale, strict=True))


def exact(cdf: Callable[..., Any], parameters: Row, x: float) -> list[float]:
    """The derivative of x in each parameter."""
    with mp.workdps(50):
        at = tuple(mp.mpf(v) for v in (*parameters, x))
        orders = [tuple(int(i == k) for k in range(len(at))) for i in range(len(at))]
        *slopes, density = (mp.diff(cdf, at, order) for order in orders)
        return [float(-slope / density) for slope in slopes]


def gradients(draw: Callable[..., Tensor], parameters: Row, dtype: torch.dtype) -> Tensor:
    """Of points `(levels,)` in the parameters: `(levels, parameters)`, in float64."""
    leaves = [torch.tensor(v, dtype=dtype, requires_grad=True) for v in parameters]
    points = draw(*leaves)
    rows = [torch.autograd.grad(point, leaves, retain_graph=True) for point in points]
    return torch.tensor([[g.item() for g in row] for row in rows], dtype=torch.float64)


def _fixed_gamma(alpha: Tensor) -> Tensor:
    """Points at the levels, as those below; in float64 whatever the parameters are in."""
    return with_gamma_gradient(gamma_log_quantile(LEVELS, alpha), alpha).exp()


def _fixed_beta(a: Tensor, b: Tensor) -> Tensor:
    return with_beta_gradient(beta_logit_quantile(LEVELS, a, b), a, b).sigmoid()


def _fixed_student(df: Tensor) -> Tensor:
    return StudentT(df).rsample(LEVELS.shape, Noise(uniforms=LEVELS))


def _fixed_von_mises(kappa: Tensor) -> Tensor:
    return VonMises(torch.zeros_like(kappa), kappa).rsample(LEVELS.shape, Noise(uniforms=LEVELS))


def _fixed_mixture(*parameters: Tensor) -> Tensor:
    loc, scale = torch.stack(parameters[:3]), torch.stack(parameters[3:])
    q = MixtureSameFamily(Categorical(torch.tensor(WEIGHTS, dtype=loc.dtype)), Normal(loc, scale))
    return q.rsample(LEVELS.shape, Noise(uniforms=LEVELS))


def _torchs_gamma(alpha: Tensor) -> Tensor:
    """The gradients of torch's own sampler, at the same points."""
    x = _fixed_gamma(alpha.double()).to(alpha.dtype)
    return torch._standard_gamma_grad(alpha.expand_as(x), x).unsqueeze(-1)  # noqa: SLF001


def _torchs_beta(a: Tensor, b: Tensor) -> Tensor:
    x = _fixed_beta(a.double(), b.double()).to(a.dtype)
    total = (a + b).expand_as(x)
    by_a = torch._dirichlet_grad(x, a.expand_as(x), total) * (1 - x)  # noqa: SLF001
    by_b = torch._dirichlet_grad(1 - x, b.expand_as(x), total) * x  # noqa: SLF001
    return torch.stack([by_a, -by_b], -1)


CASES = {
    "Gamma": (_gamma, _fixed_gamma, GAMMAS, _torchs_gamma),
    "Beta": (_beta, _fixed_beta, BETAS, _torchs_beta),
    "StudentT": (_student, _fixed_student, STUDENTS, None),
    "VonMises": (_von_mises, _fixed_von_mises, VON_MISES, None),
    "mixture": (_mixture, _fixed_mixture, [(*LOC, *SCALE)], None),
}


def errors(name: str) -> dict[str, float | None]:
    """The largest relative error over grid, levels and parameters: ours by dtype, and torch's."""
    cdf, draw, grid, torchs = CASES[name]
    worst: dict[str, float | None] = {"float64": 0.0, "float32": 0.0, "torch": None}
    for parameters in grid:
        points = draw(*(torch.tensor(v, dtype=torch.float64) for v in parameters))
        truth = torch.tensor(
            [exact(cdf, parameters, x) for x in points.tolist()], dtype=torch.float64
        )
        got = {
            "float64": gradients(draw, parameters, torch.float64),
            "float32": gradients(draw, parameters, torch.float32),
        }
        if torchs:
            got["torch"] = torchs(*(torch.tensor(v, dtype=torch.float64) for v in parameters))
        for key, value in got.items():
            worst[key] = max(worst[key] or 0.0, float((value / truth - 1).abs().max()))
    return worst
