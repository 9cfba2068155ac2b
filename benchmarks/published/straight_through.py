"""Bias and variance of straight-through on a random quadratic (Hooper & Shekhovtsov 2026).

L(z) = z'Az + b'z with A = Q'Q over the one-hots of d = 4 classes; torch seed 0, then Q, b and the
logits from randn in this order. Both figures are of the gradient rescaled to the true length:
bias^2 = |s E[g] - g*|^2, variance = s^2 times the sum of the variances, s = |g*| / |E[g]|.
Straight-through, ReinMax, ZGR and MVE are enumerated; what has noise of its own is sampled.
"""

from collections.abc import Callable

import torch
from benchmarks.published.options import Options
from benchmarks.published.rows import Estimate, Row, digits, sampled, shown
from torch import Tensor
from torch.distributions import OneHotCategorical

import reparam as rp
from reparam.families import family
from reparam.noise import Noise

ENUMERATED = {
    "ST": (rp.StraightThrough(), ".278082", ".772404"),
    "ReinMax tau=1": (rp.ReinMax(), None, "13.7856"),
    "ReinMax tau=2": (rp.ReinMax(tau=2.0), ".0551452", "1.65559"),
    "MVE": (rp.MVE(), None, "13.3403"),
    "ZGR": (rp.ZGR(), None, None),
}
SAMPLED = {
    "ST-GS tau=1": (rp.StraightThroughGumbelSoftmax(1.0), 0.1415, 1.88752),
    "GumbelRao(10) tau=1": (rp.GumbelRao(10, 1.0), 0.1505, 1.50196),
    "GumbelRao(100) tau=1": (rp.GumbelRao(100, 1.0), 0.1497, 1.46957),
}
DRAWS = 1000
"""For each class, in each of the published samples."""


def setting(d: int = 4, seed: int = 0) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Logits and cost, drawn in float32 as published, computed with in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        q, b, logits = torch.randn(d, d), torch.randn(d), torch.randn(d)
    a, b = (q.T @ q).double(), b.double()
    return logits.double(), lambda z: ((z @ a) * z).sum(-1) + z @ b


def true_gradient() -> Tensor:
    """By enumeration."""
    logits, cost = setting()
    leaf = logits.requires_grad_()
    value = rp.expect(cost, OneHotCategorical(logits=leaf), rp.Enumerate())
    return torch.autograd.grad(value, leaf)[0]


def gradients(estimator: rp.Estimator, rows: int, **source: Tensor | torch.Generator) -> Tensor:
    """One estimate of the gradient for each of `rows` independent batch rows: `(rows, d)`."""
    logits, cost = setting()
    leaf = logits.expand(rows, -1).clone().requires_grad_()
    value = rp.expect(
        cost, OneHotCategorical(logits=leaf, validate_args=False), estimator, **source
    )
    return torch.autograd.grad(value.sum(), leaf)[0]


def figures(estimates: Tensor, weights: Tensor) -> tuple[float, float]:
    """bias^2 and variance of estimates `(rows, d)` that have the weights `(rows, 1)`."""
    truth = true_gradient()
    mean = (weights * estimates).sum(0)
    scale = truth.norm() / mean.norm()
    variance = (weights * (estimates - mean).square()).sum()
    return (scale * mean - truth).square().sum().item(), (scale**2 * variance).item()


def enumerated(estimator: rp.Estimator) -> tuple[float, float]:
    """Over all outcomes, each produced by uniforms near 1 for its class and near 0 elsewhere."""
    logits, _ = setting()
    u = torch.eye(len(logits), dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    return figures(
        gradients(estimator, len(logits), noise=u.unsqueeze(0)), logits.softmax(0).unsqueeze(-1)
    )


def sample(estimator: rp.Estimator, generator: torch.Generator) -> Tensor:
    """Estimates of the published sample's size and kind, DRAWS for every class: `(d DRAWS, d)`."""
    logits, _ = setting()
    onehots = torch.eye(len(logits), dtype=torch.float64).repeat_interleave(DRAWS, 0).unsqueeze(0)
    free = Noise(generator).uniform
    if isinstance(estimator, rp.GumbelRao):
        forced = onehots.clamp(1e-12, 1 - 1e-12)
        u = torch.stack([forced, *(free(1, onehots[0]) for _ in range(estimator.k))])
    else:  # noise that decides for the class, and is otherwise free
        f = family(OneHotCategorical(logits=logits.expand(len(onehots[0]), -1)))
        z = f.condition(onehots, Noise(uniforms=free(1, onehots[0])))
        u = torch.exp(-torch.exp(logits - z)).clamp(1e-300, 1 - 2**-53)
    return gradients(estimator, len(onehots[0]), noise=u)


def repeated(estimator: rp.Estimator, count: int) -> tuple[Tensor, Tensor]:
    """bias^2 and variance from `count` samples together, and the spread of a single one: `(2,)`."""
    generator = torch.Generator().manual_seed(0)
    each = [sample(estimator, generator) for _ in range(count)]
    weights = setting()[0].softmax(0).repeat_interleave(DRAWS).unsqueeze(-1) / DRAWS
    together = figures(torch.cat(each), weights.repeat(count, 1) / count)
    single = torch.tensor([figures(g, weights) for g in each])
    return torch.tensor(together), single.std(0)


def exact_rows() -> list[Row]:
    """The figures without sampling."""
    rows = [digits("length of the true gradient", true_gradient().norm().item(), ".459999")]
    for name, (estimator, bias, variance) in ENUMERATED.items():
        b, v = enumerated(estimator)
        rows.append(_exact_bias(name, b, bias))
        rows.append(
            digits(f"{name} variance", v, variance) if variance else shown(f"{name} variance", v)
        )
    return rows


def _exact_bias(name: str, ours: float, printed: str | None) -> Row:
    if printed:
        return digits(f"{name} bias^2", ours, printed)
    return Row(
        f"{name} bias^2", ours, 0.0, None, "below 1e-12 (exact for quadratics)", ours < 1e-12
    )


def sampled_rows(options: Options) -> list[Row]:
    """The figures of estimators with noise beyond the sample."""
    rows, count = [], 8 if options.quick else 50
    for name, (estimator, *theirs) in options.steps(SAMPLED.items(), "sampling", len(SAMPLED)):
        figure, spread = (x.tolist() for x in repeated(estimator, count))
        for i, what in enumerate(("bias^2", "variance")):
            ours = Estimate(figure[i], spread[i] / count**0.5)
            allowed = 4 * (spread[i] ** 2 + ours.error**2) ** 0.5
            why = f"4 standard deviations of one sample of {4 * DRAWS}, as theirs is"
            rows.append(sampled(f"{name} {what}", ours, theirs[i], allowed, why))
    return rows


def run(options: Options) -> list[Row]:
    """The block."""
    return exact_rows() + sampled_rows(options)
