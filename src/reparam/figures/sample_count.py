"""Variance against the number of samples: all estimators, and what rewards' offsets do."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from reparam.core import Estimator
from reparam.estimators import ESTIMATORS, Relax, Rloo, Score
from reparam.figures.style import (
    BLUE,
    CLEAR,
    GREEN,
    INK,
    ORANGE,
    PALE,
    QUIET,
    canvas,
    plain_ticks,
    spread,
)
from reparam.problems import PROBLEMS, Problem
from reparam.problems.moments import exact_moments, sampled_moments
from reparam.report.listing import fits, instance

TITLE = "Variance against the number of samples"
COUNTS = (1, 2, 4, 8, 16, 32)
DRAWS = 2_000
ROUNDING = 1e-20
"""What variance an exact gradient has."""
OFFSETS = (0.0, 3.0, 10.0)

Curve = dict[str, list[float]]


def measure(seed: int) -> dict[str, Any]:
    """Variances (traces of covariances) on `categorical8`, with their standard errors.

    curves: of every estimator there is for it, but those of other objectives (`multisample`),
        with a network to train (Relax), or without variance.
    slopes: of log variance against log n, by least squares; slope_errors: standard errors.
    reinforce: Score with offsets added to the cost, and with the cost's mean subtracted, drawn;
        exact: the same for one sample, by enumeration.
    rloo: of two and three samples by enumeration, which tell all others.
    """
    generator = torch.Generator().manual_seed(seed)
    problem = PROBLEMS["categorical8"]()
    fitting = {
        name: instance(cls)
        for name, cls in ESTIMATORS.items()
        if not (cls.multisample or cls is Relax) and fits(instance(cls), problem.q())
    }
    curves = {name: curve(each, problem, generator) for name, each in fitting.items()}
    curves = {name: own for name, own in curves.items() if own["variance"][0] > ROUNDING}
    slopes = {name: slope(own) for name, own in curves.items()}
    levels = {f"+ {offset:g}": shifted(problem, offset) for offset in OFFSETS}
    levels["mean baseline"] = shifted(problem, -problem.exact().detach())
    return {
        "counts": list(COUNTS),
        "draws": DRAWS,
        "curves": curves,
        "slopes": {name: value for name, (value, _) in slopes.items()},
        "slope_errors": {name: error for name, (_, error) in slopes.items()},
        "reinforce": {name: curve(Score(), own, generator) for name, own in levels.items()},
        "exact": {name: exact_variance(Score(), own, 1) for name, own in levels.items()},
        "rloo": [exact_variance(Rloo(), problem, n) for n in (2, 3)],
    }


def shifted(problem: Problem, offset: Tensor | float) -> Problem:
    """The problem, with something added to its cost that does not depend on the points."""
    return replace(problem, cost=lambda points, weight: problem.cost(points, weight) + offset)


def curve(estimator: Estimator, problem: Problem, generator: torch.Generator) -> Curve:
    """Its variance and the standard error of that, at every count that it takes."""
    found: Curve = {"n": [], "variance": [], "error": []}
    for n in COUNTS:
        try:
            moments = sampled_moments(estimator, problem, n, DRAWS, generator)
        except ValueError:  # samples are compared with each other: one is not enough
            continue
        found["n"].append(n)
        found["variance"].append(moments.variance)
        found["error"].append(moments.variance_error)
    return found


def slope(own: Curve) -> tuple[float, float]:
    """Of log variance against log n, and its standard error."""
    n, variance, error = (torch.tensor(x, dtype=torch.float64) for x in own.values())
    x = n.log() - n.log().mean()
    weights = x / x.square().sum()
    return (weights @ variance.log()).item(), (weights * error / variance).norm().item()


def exact_variance(estimator: Estimator, problem: Problem, n: int) -> float:
    """By enumeration of the draws."""
    moments = exact_moments(estimator, problem, n)
    if moments is None:
        raise ValueError(f"estimator: expected one that can be enumerated, got {estimator}")
    return moments.variance


def rloo_variance(found: dict[str, Any], n: float) -> float:
    """a / n + b / (n (n - 1)): of n samples, from those of two and three."""
    two, three = found["rloo"]
    a, b = 6 * three - 2 * two, 4 * two - 6 * three
    variance: float = a / n + b / (n * (n - 1))
    return variance


def caption(found: dict[str, Any]) -> str:
    """What the figure shows, with its numbers."""
    slopes = dict(found["slopes"])
    rloo = slopes.pop("rloo")
    exact, most = found["exact"], f"+ {max(OFFSETS):g}"
    return (
        f"Left: every estimator that serves categorical8 as it comes, {found['draws']:,} draws at "
        f"each n. The mean of n independent samples has 1/n of the variance: the slopes are "
        f"{min(slopes.values()):.2f} to {max(slopes.values()):.2f}. RLOO's samples are each "
        f"other's baseline, so it gains more at first ({rloo:.2f}). Blue: gradients through a "
        "relaxed or hard sample; orange: score functions alone; black: other unbiased ones. Right: "
        "REINFORCE when a "
        f"constant is added to the cost. One sample's variance is {exact['+ 0']:.3g} with nothing "
        f"added, {exact[most]:,.3g} at {most}, and {exact['mean baseline']:.3g} with the cost's "
        "mean as baseline, whatever is added; RLOO comes near it without knowing the mean. Lines "
        "are sums over all outcomes, dots are draws."
    )


def draw(found: dict[str, Any]) -> Any:
    """Two panels; lines are named at their ends."""
    figure, (left, right) = canvas(4.6, 2, width_ratios=[1.25, 1])
    _draw_all(left, found)
    _draw_reinforce(right, found)
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlim=(0.9, None))
        plain_ticks(axes.xaxis, found["counts"])
        axes.grid()
        axes.spines.bottom.set_bounds(0.9, 36)
    left.set_xlabel("samples n", x=0.24)
    right.set_xlabel("samples n", x=0.31)
    plain_ticks(left.yaxis, (0.001, 0.01, 0.1, 1))
    plain_ticks(right.yaxis, (0.0001, 0.001, 0.01, 0.1, 1, 10, 100))
    return figure


def _draw_all(axes: Any, found: dict[str, Any]) -> None:
    """All estimators."""
    ends = {name: own["variance"][-1] for name, own in found["curves"].items()}
    order = sorted(ends, key=lambda name: -ends[name])
    places = spread([torch.tensor(ends[name]).log10().item() for name in order], 0.145)
    for name, place in zip(order, places, strict=True):
        own, color = found["curves"][name], _color(name)
        axes.plot(own["n"], own["variance"], color=color, linewidth=1.2)
        axes.plot([own["n"][-1], 42], [ends[name], 10**place], color=PALE, linewidth=0.7)
        axes.annotate(name, (44, 10**place), color=color, fontsize=8, va="center", bbox=CLEAR)
    axes.set(title="All estimators", ylabel="variance", xlim=(0.9, 1500))


def _draw_reinforce(axes: Any, found: dict[str, Any]) -> None:
    """Score at several levels of the cost, and RLOO."""
    counts = found["counts"]
    for name, own in found["reinforce"].items():
        color = BLUE if name == "mean baseline" else ORANGE
        axes.plot(counts, [found["exact"][name] / n for n in counts], color=color, linewidth=1.2)
        axes.plot(own["n"], own["variance"], "o", color=color, markersize=2.8)
        text = {"+ 0": "cost as it is", "mean baseline": name}.get(name, f"cost {name}")
        axes.annotate(text, (42, own["variance"][-1]), color=color, va="center", bbox=CLEAR)
    many = [2 ** (k / 4) for k in range(4, 21)]
    axes.plot(many, [rloo_variance(found, n) for n in many], color=GREEN, linewidth=1.2)
    own = found["curves"]["rloo"]
    axes.plot(own["n"], own["variance"], "o", color=GREEN, markersize=2.8)
    axes.annotate("RLOO", (2, own["variance"][0]), (4, 4), textcoords="offset points", color=GREEN)
    axes.set(title="REINFORCE and the level of the cost", xlim=(0.9, 300))


def _color(name: str) -> str:
    if name in ("score", "rloo"):
        return ORANGE
    return BLUE if ESTIMATORS[name].pathwise else INK if ESTIMATORS[name].unbiased else QUIET
