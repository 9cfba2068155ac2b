"""Where the gradient stops, and how reparameterization leads it past the noise."""

from typing import Any

import torch
from torch.distributions import Normal

from reparam.estimators import Pathwise, Score
from reparam.figures.style import BLUE, INK, ORANGE, PALE, QUIET, bare, canvas

TITLE = "Blocked and reparameterized gradient paths"
DRAWS = 10_000


def measure(seed: int) -> dict[str, Any]:
    """d/d mean of E[z^2], z ~ N(1, 1), which is 2: by a plain sample, pathwise, by the score."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Any] = {"draws": DRAWS, "exact": 2.0}
    mean = torch.ones(DRAWS, dtype=torch.float64, requires_grad=True)
    blocked = torch.normal(mean, 1.0, generator=generator)
    (stopped,) = torch.autograd.grad(blocked.square().sum(), mean)
    found["blocked"] = stopped.mean().item()
    for name, estimator in {"pathwise": Pathwise(), "score": Score()}.items():
        draw = estimator.draw(Normal(mean, 1.0), generator=generator)
        (gradient,) = torch.autograd.grad(draw.combine(draw.points.square()).sum(), mean)
        found[name] = gradient.mean().item()
        found[f"{name}_error"] = (gradient.std() / DRAWS**0.5).item()
    return found


def caption(found: dict[str, Any]) -> str:
    """What the figure shows, with its numbers."""
    return (
        "Left: the cost is reached through a sample of q, and a sample has no derivative. Right: "
        "the noise is drawn apart, and the sample is a smooth function of the parameter and the "
        "noise; the gradient (orange) passes. For d/dμ E[z²], z ~ N(μ, 1), at μ = 1, which is 2, "
        f"{found['draws']:,} samples give {found['blocked']:.0f} through torch.normal, "
        f"{found['pathwise']:.3f} ± {found['pathwise_error']:.3f} pathwise, and "
        f"{found['score']:.3f} ± {found['score_error']:.3f} by the score function, which needs no "
        "path."
    )


def draw(_found: dict[str, Any]) -> Any:
    """Two computation graphs."""
    figure, (blocked, open_) = canvas(3.3, 2)
    for axes, title in ((blocked, "Blocked"), (open_, "Reparameterized")):
        bare(axes)
        axes.set(xlim=(0, 10), ylim=(0.2, 6), aspect="equal")
        axes.set_title(title, fontsize=12)
    _node(blocked, 1.2, 2.2, r"$\theta$")
    _node(blocked, 5.0, 2.2, r"$z \sim q_\theta$", random=True)
    _node(blocked, 8.8, 2.2, r"$f(z)$")
    _arrow(blocked, (1.2, 2.2), (5.0, 2.2))
    _arrow(blocked, (5.0, 2.2), (8.8, 2.2))
    _gradient(blocked, (8.8, 2.2), (5.0, 2.2))
    _gradient(blocked, (5.0, 2.2), (1.2, 2.2), stopped=True)

    _node(open_, 1.2, 2.2, r"$\theta$")
    _node(open_, 5.0, 4.9, r"$\varepsilon$", random=True)
    _node(open_, 5.0, 2.2, r"$g(\theta, \varepsilon)$")
    _node(open_, 8.8, 2.2, r"$f(z)$")
    _arrow(open_, (1.2, 2.2), (5.0, 2.2))
    _arrow(open_, (5.0, 4.9), (5.0, 2.2))
    _arrow(open_, (5.0, 2.2), (8.8, 2.2))
    _gradient(open_, (8.8, 2.2), (5.0, 2.2))
    _gradient(open_, (5.0, 2.2), (1.2, 2.2))
    return figure


def _node(axes: Any, x: float, y: float, text: str, random: bool = False) -> None:
    """A circle; grey where chance decides."""
    from matplotlib.patches import Circle  # noqa: PLC0415 (an extra)

    axes.add_patch(Circle((x, y), 0.95, facecolor=PALE if random else "white", edgecolor=INK))
    axes.annotate(text, (x, y), ha="center", va="center", fontsize=13)


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """What is computed from what."""
    style = {"arrowstyle": "-|>", "color": QUIET, "linewidth": 1.2, "shrinkA": 31, "shrinkB": 31}
    axes.annotate("", end, start, arrowprops=style)


def _gradient(
    axes: Any, start: tuple[float, float], end: tuple[float, float], stopped: bool = False
) -> None:
    """The way back, below; crossed out where there is none."""
    style = {
        "arrowstyle": "-|>",
        "color": PALE if stopped else ORANGE,
        "linewidth": 1.8,
        "shrinkA": 31,
        "shrinkB": 31,
        "connectionstyle": "arc3,rad=-0.5",
    }
    axes.annotate("", end, start, arrowprops=style)
    middle = (start[0] + end[0]) / 2
    if stopped:
        axes.annotate("✕", (middle, 1.26), ha="center", va="center", color=BLUE, fontsize=16)
    axes.annotate(
        "no derivative"
        if stopped
        else r"$\partial f/\partial z$"
        if start[0] > 6
        else r"$\partial z/\partial\theta$",
        (middle, 0.62),
        ha="center",
        va="center",
        color=BLUE if stopped else ORANGE,
        fontsize=11,
    )
