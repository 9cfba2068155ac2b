"""How much of REINFORCE's variance is the rewards' level: over random problems, exactly."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import OneHotCategorical

from reparam.estimators import Score
from reparam.figures.exact import soft_moments
from reparam.figures.style import BLUE, CLEAR, GREEN, ORANGE, PALE, QUIET, canvas, plain_ticks
from reparam.problems.nodes import nodes

TITLE = "The gap to REINFORCE"
PROBLEMS, CLASSES = 200, 8
WARM, COLD = 0.5, 0.1
"""Temperatures of the Gumbel-Softmax samples to compare with."""
KINDS = {"plain": ORANGE, "baseline": BLUE, "baseline, cold": GREEN}


def measure(seed: int) -> dict[str, Any]:
    """Ratios of variances (traces of covariances) of one-sample gradients, in quartiles.

    plain: REINFORCE over Gumbel-Softmax at WARM. baseline: with the mean reward subtracted.
    baseline, cold: over Gumbel-Softmax at COLD. Costs are r . y, logits N(0, 1), rewards r by
    the laws. The problems are drawn; each variance is a sum over outcomes or an integral.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal() -> Tensor:
        return torch.randn(PROBLEMS, CLASSES, generator=generator, dtype=torch.float64)

    def uniform() -> Tensor:
        return torch.rand(PROBLEMS, CLASSES, generator=generator, dtype=torch.float64)

    logits = normal()
    laws = {
        "N(0, 1)": normal(),
        "U(0, 1)": uniform(),
        "N(0, 1) + 10": normal() + 10,
        "U(0, 1) + 5": uniform() + 5,
    }
    ratios = {law: _ratios(logits, rewards) for law, rewards in laws.items()}
    return {"problems": PROBLEMS, "classes": CLASSES, "warm": WARM, "cold": COLD, "laws": ratios}


def _ratios(logits: Tensor, rewards: Tensor) -> dict[str, list[float]]:
    warm, cold = (soft_moments(logits, rewards, tau)[1].sum(-1) for tau in (WARM, COLD))
    mean = (logits.softmax(-1) * rewards).sum(-1, keepdim=True)
    plain, centred = score_variance(logits, rewards), score_variance(logits, rewards - mean)
    ratios = torch.stack([plain / warm, centred / warm, centred / cold])
    quarters = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    return dict(zip(KINDS, ratios.quantile(quarters, -1).T.tolist(), strict=True))


def score_variance(logits: Tensor, rewards: Tensor) -> Tensor:
    """Trace of the covariance of Score's gradient of r . y, `(problems)`, outcome by outcome."""
    weights, noise = nodes(Score(), OneHotCategorical(logits=logits), 1)
    rows = logits.expand(len(weights), *logits.shape).clone().requires_grad_()
    draw = Score().draw(OneHotCategorical(logits=rows), noise=noise)
    value = draw.combine((draw.points * rewards).sum(-1))
    (gradient,) = torch.autograd.grad(value.sum(), rows)
    weights = weights.unsqueeze(-1)
    mean = (weights * gradient).sum(0)
    return (weights * (gradient - mean).square()).sum((0, -1))


def caption(found: dict[str, Any]) -> str:
    """What the figure shows, with its numbers."""
    said = "; ".join(
        f"{law}: {_short(kinds['plain'][1])}, with the baseline {kinds['baseline'][1]:.1f}"
        for law, kinds in found["laws"].items()
    )
    cold = [kinds["baseline, cold"][1] for kinds in found["laws"].values()]
    return (
        "The variance of REINFORCE's gradient over that of Gumbel-Softmax, one sample each: median "
        f"(dot) and quartiles (bar) of {found['problems']} random problems of {found['classes']} "
        "classes, without sampling error. Most of the famous gap is the rewards' level, which a "
        f"baseline takes away. At τ = {found['warm']:g}, by the law of the rewards, {said}. At "
        f"τ = {found['cold']:g}, REINFORCE with a baseline has {min(cold):.2f} to {max(cold):.2f} "
        "of the variance, and no bias."
    )


def draw(found: dict[str, Any]) -> Any:
    """A row for each law of the rewards."""
    figure, axes = canvas(3.3, 1)
    names = {
        "plain": "no baseline",
        "baseline": "mean baseline",
        "baseline, cold": f"mean baseline, τ = {found['cold']:g}",
    }
    laws = found["laws"]
    for place, kinds in enumerate(laws.values()):
        for kind, color in KINDS.items():
            up = kind == "plain"
            low, median, high = kinds[kind]
            height = place - 0.12 if up else place + 0.12
            axes.plot([low, high], [height] * 2, color=color, linewidth=3.5, alpha=0.3)
            axes.plot(median, height, "o", color=color, markersize=6)
            text = {"color": color, "ha": "center", "va": "bottom" if up else "top"}
            beside = {"textcoords": "offset points", "xytext": (0, 5 if up else -5)}
            axes.annotate(_short(median), (median, height), **beside, **text)
            if place == len(laws) - 1:
                label = {"color": color, "ha": "center", "va": "center", "bbox": CLEAR}
                axes.annotate(names[kind], (median * 1.1, place + 0.62), **label)
    axes.axvline(1, color=QUIET, linewidth=0.8, linestyle=(0, (6, 4)))
    axes.set(xscale="log", xlim=(0.1, 5000), ylim=(len(laws) - 0.1, -0.6))
    plain_ticks(axes.xaxis, (0.1, 1, 10, 100, 1000))
    axes.set_yticks(range(len(laws)), [f"rewards {law}" for law in laws])
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.spines.left.set_visible(False)
    axes.grid(axis="x", color=PALE)
    axes.set_xlabel(f"variance of REINFORCE / variance of Gumbel-Softmax (τ = {found['warm']:g})")
    return figure


def _short(value: float) -> str:
    """Two digits or all before the point."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
