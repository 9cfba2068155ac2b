"""The Gumbel distribution: density, sampling by its inverse, samples against the density."""

from itertools import pairwise
from typing import Any

import torch

from reparam.figures.style import BLUE, INK, ORANGE, PALE, QUIET, canvas
from reparam.noise import Noise

TITLE = "Gumbel noise"
SAMPLES = 20_000
EULER = 0.5772156649015329
"""The mean of the distribution."""


def measure(seed: int) -> dict[str, Any]:
    """Samples of the library, and the Kolmogorov-Smirnov test of them."""
    from scipy import stats  # noqa: PLC0415 (an extra)

    like = torch.empty((), dtype=torch.float64)
    samples = Noise(torch.Generator().manual_seed(seed)).gumbel(SAMPLES, like)
    test = stats.kstest(samples.numpy(), "gumbel_r")
    heights, edges = torch.histogram(samples, 60, range=(-3.0, 9.0), density=False)
    return {
        "samples": SAMPLES,
        "mean": samples.mean().item(),
        "least": samples.min().item(),
        "largest": samples.max().item(),
        "distance": float(test.statistic),
        "p_value": float(test.pvalue),
        "edges": edges.tolist(),
        "density": (heights / SAMPLES / edges.diff()).tolist(),
    }


def caption(found: dict[str, Any]) -> str:
    """What the figure shows, with its numbers."""
    return (
        "The Gumbel density exp(-x - exp(-x)); its distribution function exp(-exp(-x)), read "
        "backwards, turns uniform numbers u into samples -log(-log u); "
        f"{found['samples']:,} samples beside the density. Their mean is {found['mean']:.4f} "
        f"(Euler's constant, {EULER:.4f}), the extremes {found['least']:.2f} and "
        f"{found['largest']:.2f}. Kolmogorov-Smirnov: distance {found['distance']:.4f}, "
        f"p = {found['p_value']:.2f}."
    )


def draw(found: dict[str, Any]) -> Any:
    """Three panels."""
    figure, (density, inverse, samples) = canvas(3.1, 3)
    x = torch.linspace(-3, 9, 400, dtype=torch.float64)
    height, below = torch.exp(-x - torch.exp(-x)), torch.exp(-torch.exp(-x))
    density.plot(x, height, color=INK)
    density.axvline(EULER, color=PALE, zorder=0)
    density.annotate("mean .577", (EULER + 0.25, 0.395), color=QUIET)
    density.set(title="Density", xlabel="x", xlim=(-3, 9), ylim=(0, 0.42))

    inverse.plot(x, below, color=INK)
    for u in torch.linspace(0.05, 0.95, 10).tolist():
        at = -torch.log(-torch.log(torch.tensor(u))).item()
        inverse.plot([-3, at, at], [u, u, 0], color=BLUE, linewidth=0.8, alpha=0.8)
        inverse.plot([at], [0], "v", color=BLUE, markersize=5, clip_on=False, zorder=3)
    inverse.set(title="Even steps of u, samples of x", xlabel="x", ylabel="u")
    inverse.set(xlim=(-3, 9), ylim=(0, 1))

    edges = found["edges"]
    widths = [b - a for a, b in pairwise(edges)]
    samples.bar(edges[:-1], found["density"], widths, align="edge", color=ORANGE, alpha=0.45)
    samples.plot(x, height, color=INK)
    samples.set(title=f"{found['samples']:,} samples", xlabel="x", xlim=(-3, 9), ylim=(0, 0.42))
    return figure
