"""Bias and variance of relaxed gradients against the temperature, and their exponents."""

from collections.abc import Callable
from math import log
from typing import Any

import torch
from torch import Tensor
from torch.distributions import OneHotCategorical

from reparam.core import Estimator
from reparam.estimators import GumbelSoftmax, StraightThroughGumbelSoftmax
from reparam.figures.exact import soft_moments
from reparam.figures.style import BLUE, ORANGE, QUIET, canvas, plain_ticks

TITLE = "Bias and variance against temperature"
CLASSES = 8
REPEATS, POINTS = 8, 2**14
"""Independent scramblings of a Sobol sequence, and its points."""
TEMPERATURES = tuple(10 ** (k / 6) for k in range(-12, 7))
"""From .01 to 10, six to a decade."""
DECADES = range(6)
"""Numbers of samples to choose a temperature for, as powers of ten."""

Cost = Callable[[Tensor], Tensor]


def measure(seed: int) -> dict[str, Any]:
    """Relaxations of one problem by two costs that agree on every one-hot, hence on the truth.

    logits, rewards r: NumPy's `default_rng(0)`, normal(8) and the next normal(8).
    curves: relative bias |E g - truth| / |truth|, and variance = trace of the covariance of g, for
        the costs r . y (integrated; soft and straight-through have one gradient) and
        log(y . exp r) (drawn). bias_error: one standard error of what was drawn.
    drawn_variance: of the first curve, as the library's draws have it.
    exponents: d log variance / d log tau of the first curve.
    """
    logits, rewards = problem()
    integrated = _integrated(logits, rewards)
    drawn, drawn_variance = _drawn(logits, rewards, _noise(seed))
    return {
        "logits": logits.tolist(),
        "rewards": rewards.tolist(),
        "draws": REPEATS * POINTS,
        "temperatures": list(TEMPERATURES),
        "curves": {"soft, linear": integrated, **drawn},
        "drawn_variance": drawn_variance,
        "exponents": [exponent(logits, rewards, tau) for tau in TEMPERATURES],
        "cold_variance": cold_variance(logits, rewards),
        "cold_bias": cold_bias(logits, lambda y: log_likelihood(y, rewards)),
        "best": _best(logits, rewards, integrated),
    }


def linear(y: Tensor, rewards: Tensor) -> Tensor:
    """r . y."""
    return y @ rewards


def log_likelihood(y: Tensor, rewards: Tensor) -> Tensor:
    """log(y . exp r), which is r . y if y is one-hot."""
    return (y @ rewards.exp()).log()


def problem() -> tuple[Tensor, Tensor]:
    """Logits and rewards `(CLASSES)`."""
    from numpy.random import default_rng  # noqa: PLC0415 (an extra)

    numbers = default_rng(0)
    logits, rewards = (torch.from_numpy(numbers.normal(size=CLASSES)) for _ in range(2))
    return logits, rewards


def exact_gradient(logits: Tensor, cost: Cost) -> Tensor:
    """The gradient of E[cost] in the logits, by enumeration."""
    logits = logits.clone().requires_grad_()
    values = cost(torch.eye(CLASSES, dtype=torch.float64))
    (gradient,) = torch.autograd.grad((logits.softmax(-1) * values).sum(), logits)
    return gradient


def _integrated(logits: Tensor, rewards: Tensor) -> dict[str, list[float]]:
    truth = exact_gradient(logits, lambda y: linear(y, rewards))
    moments = [soft_moments(logits, rewards, tau) for tau in TEMPERATURES]
    return {
        "bias": [((mean - truth).norm() / truth.norm()).item() for mean, _ in moments],
        "variance": [variance.sum().item() for _, variance in moments],
    }


def _noise(seed: int) -> Tensor:
    """Uniforms `(REPEATS, POINTS, CLASSES)`."""
    engine: Any = torch.quasirandom.SobolEngine  # it has no types
    rows = [
        engine(CLASSES, scramble=True, seed=seed * REPEATS + repeat).draw(
            POINTS, dtype=torch.float64
        )
        for repeat in range(REPEATS)
    ]
    return torch.stack(rows).clamp(1e-12, 1 - 1e-12)


def _drawn(
    logits: Tensor, rewards: Tensor, noise: Tensor
) -> tuple[dict[str, dict[str, list[float]]], list[float]]:
    """Curves of log(y . exp r); the variance for r . y. The same noise at all temperatures.

    What the draws' mean for r . y lacks of its integral is a control variate of the others.
    """
    truth = exact_gradient(logits, lambda y: linear(y, rewards))
    makers: dict[str, Callable[[float], Estimator]] = {
        "soft, log-likelihood": GumbelSoftmax,
        "straight-through, log-likelihood": StraightThroughGumbelSoftmax,
    }
    curves: dict[str, dict[str, list[float]]] = {
        name: {"bias": [], "bias_error": [], "variance": []} for name in makers
    }
    variances = []
    for tau in TEMPERATURES:
        plain = _gradients(GumbelSoftmax(tau), logits, lambda y: linear(y, rewards), noise)
        variances.append(_variance(plain))
        luck = plain.mean(1) - soft_moments(logits, rewards, tau)[0]
        for name, make in makers.items():
            found = _gradients(make(tau), logits, lambda y: log_likelihood(y, rewards), noise)
            means = (found.mean(1) - luck - truth) / truth.norm()  # of each repeat
            bias = means.mean(0).norm()
            along = means @ (means.mean(0) / bias)
            curves[name]["bias"].append(bias.item())
            curves[name]["bias_error"].append((along.std() / REPEATS**0.5).item())
            curves[name]["variance"].append(_variance(found))
    return curves, variances


def _gradients(estimator: Estimator, logits: Tensor, cost: Cost, noise: Tensor) -> Tensor:
    """Of one sample each, `(REPEATS, POINTS, CLASSES)`."""
    rows = logits.expand_as(noise).clone().requires_grad_()
    draw = estimator.draw(OneHotCategorical(logits=rows), noise=noise[None])
    (gradient,) = torch.autograd.grad(draw.combine(cost(draw.points)).sum(), rows)
    return gradient


def _variance(gradients: Tensor) -> float:
    """Trace of the covariance."""
    return gradients.flatten(0, 1).var(0).sum().item()


def exponent(logits: Tensor, rewards: Tensor, tau: float, step: float = 1e-2) -> float:
    """d log variance / d log tau of the soft gradient of r . y, by a central difference."""
    high, low = (soft_moments(logits, rewards, tau * (1 + s))[1].sum() for s in (step, -step))
    return (high / low).log().item() / log((1 + step) / (1 - step))


def cold_variance(logits: Tensor, rewards: Tensor) -> float:
    """What tau times the variance of the soft gradient of r . y tends to as tau -> 0.

    sum_i p_i sum_j p_j (r_i - r_j)^2 / 6: a sample is undecided between i and j with a chance
    proportional to tau, and then steep in 1 / tau.
    """
    p = logits.softmax(-1)
    return (torch.outer(p, p) * (rewards[:, None] - rewards).square()).sum().item() / 6


def cold_bias(logits: Tensor, cost: Cost) -> float:
    """The limit of straight-through's relative bias as tau -> 0.

    Its gradient tends to the trapezoid rule between every two outcomes, sum_j p_i p_j times the
    mean of (d_i - d_j) f at e_i and at e_j, which is exact for quadratic costs only.
    """
    p, corners = logits.softmax(-1), torch.eye(CLASSES, dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(cost(corners).sum(), corners)
    own = slopes.diagonal()
    at_i, at_j = own[:, None] - slopes, slopes.T - own
    limit = (torch.outer(p, p) * (at_i + at_j) / 2).sum(1)
    truth = exact_gradient(logits, cost)
    bias: float = ((limit - truth).norm() / truth.norm()).item()
    return bias


def _best(logits: Tensor, rewards: Tensor, curve: dict[str, list[float]]) -> dict[str, Any]:
    """For n samples, the temperature of least mean squared error: bias^2 + variance / n."""
    size = exact_gradient(logits, lambda y: linear(y, rewards)).norm()
    bias, variance = (torch.tensor(curve[name]) for name in ("bias", "variance"))
    counts = [10**k for k in DECADES]
    least = [((bias * size).square() + variance / n).argmin().item() for n in counts]
    return {"n": counts, "temperature": [TEMPERATURES[int(k)] for k in least]}


def at(found: dict[str, Any], tau: float) -> int:
    """The place of the temperature nearest to tau."""
    taus = found["temperatures"]
    return min(range(len(taus)), key=lambda k: abs(log(taus[k] / tau)))


def caption(found: dict[str, Any]) -> str:
    """What the figure shows, with its numbers."""
    slopes = [f"{found['exponents'][at(found, tau)]:.2f} at τ = {tau:g}" for tau in (10, 1, 0.01)]
    straight = found["curves"]["straight-through, log-likelihood"]
    best = found["best"]
    return (
        "Gradients in the logits of 8 classes. Two costs, r · y and log(y · exp r), agree on every "
        "one-hot y, so the true gradient is the same. Left: relative bias. That of a soft sample "
        "vanishes as τ → 0, that of straight-through does not unless the cost is quadratic: "
        f"{straight['bias'][0]:.3f} ± {straight['bias_error'][0]:.3f} at τ = .01; its limit, the "
        f"trapezoid rule, has {found['cold_bias']:.3f} (dashed). Right: variance of one soft "
        "sample under r · y. It is not proportional to τ⁻²: the local exponent is "
        f"{', '.join(slopes)}. Dashed: the limit {found['cold_variance']:.4f}/τ. Lines under r · y "
        f"are integrals; dots are {found['draws']:,} draws. The least mean squared error of n = "
        f"{best['n'][0]}, {best['n'][2]} and {best['n'][4]:,} samples is at τ = "
        f"{best['temperature'][0]:.2g}, {best['temperature'][2]:.2g} and "
        f"{best['temperature'][4]:.2g}."
    )


def draw(found: dict[str, Any]) -> Any:
    """Two panels."""
    figure, (bias, variance) = canvas(3.5, 2)
    _draw_bias(bias, found)
    _draw_variance(variance, found)
    for axes in (bias, variance):
        axes.set(xscale="log", xlabel="temperature τ")
        plain_ticks(axes.xaxis, (0.01, 0.1, 1, 10))
        axes.grid()
    return figure


def _draw_bias(axes: Any, found: dict[str, Any]) -> None:
    """Lines with their names, and a band of two standard errors about what was drawn."""
    taus, curves = found["temperatures"], found["curves"]
    dotted, dashed = (0, (1, 1.4)), (0, (6, 4))
    looks = {
        "soft, linear": ("soft, r · y", BLUE, "-", (1.2, 0.15)),
        "soft, log-likelihood": ("soft, log(y · exp r)", BLUE, dotted, (0.013, 0.06)),
        "straight-through, log-likelihood": (
            "straight-through, log(y · exp r)",
            ORANGE,
            dotted,
            (0.013, 0.42),
        ),
    }
    for name, (label, color, style, place) in looks.items():
        axes.plot(taus, curves[name]["bias"], color=color, linestyle=style)
        axes.annotate(label, place, color=color)
        if "bias_error" in curves[name]:
            pairs = list(zip(curves[name]["bias"], curves[name]["bias_error"], strict=True))
            low, high = ([b + sign * 2 * e for b, e in pairs] for sign in (-1, 1))
            axes.fill_between(taus, low, high, color=color, alpha=0.15, linewidth=0)
    axes.axhline(found["cold_bias"], color=ORANGE, linewidth=0.8, linestyle=dashed)
    axes.set(title="Relative bias", ylim=(0, 1))


def _draw_variance(axes: Any, found: dict[str, Any]) -> None:
    """The integral, draws on it, the limit, and the exponents along the way."""
    taus, curve = found["temperatures"], found["curves"]["soft, linear"]["variance"]
    limit = [found["cold_variance"] / tau for tau in taus]
    axes.plot(taus, limit, color=QUIET, linewidth=0.8, linestyle=(0, (6, 4)))
    axes.plot(taus, curve, color=BLUE)
    axes.plot(taus, found["drawn_variance"], "o", color=BLUE, markersize=2.8)
    for tau in (0.02, 0.1, 0.5, 1, 2, 5):
        k = at(found, tau)
        label = f"$\\tau^{{{{-}}{-found['exponents'][k]:.1f}}}$"
        axes.annotate(
            label, (taus[k], curve[k]), (-5, -6), textcoords="offset points", ha="right", va="top"
        )
    axes.annotate(
        "limit ∝ 1/τ", (2.2, limit[at(found, 2.2)]), (4, 4), textcoords="offset points", color=QUIET
    )
    axes.set(title="Variance of a soft sample, r · y", yscale="log")
    plain_ticks(axes.yaxis, [10.0**k for k in range(-5, 2)])
