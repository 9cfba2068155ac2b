"""What a temperature does to a draw: the same noise at four of them."""

from typing import Any

import torch

from reparam.figures.style import BLUE, INK, PALE, QUIET, bare, canvas
from reparam.functional import gumbel_softmax

TITLE = "Five draws at four temperatures"
PROBS = (0.08, 0.3, 0.12, 0.25, 0.05, 0.2)
TEMPERATURES = (5.0, 1.0, 0.5, 0.1)
DRAWS = 5


def measure(seed: int) -> dict[str, Any]:
    """Relaxed samples `(temperatures, draws, classes)`, of one noise for each draw."""
    logits = torch.tensor(PROBS, dtype=torch.float64).log().expand(DRAWS, -1)
    samples = torch.stack([gumbel_softmax(logits, tau, key=seed) for tau in TEMPERATURES])
    return {
        "probs": list(PROBS),
        "temperatures": list(TEMPERATURES),
        "samples": samples.tolist(),
        "max_prob": samples.amax(-1).mean(-1).tolist(),
    }


def caption(found: dict[str, Any]) -> str:
    """What the figure shows, with its numbers."""
    largest = ", ".join(
        f"{value:.2f} at {tau:g}"
        for value, tau in zip(found["max_prob"], found["temperatures"], strict=True)
    )
    return (
        "Each column is one draw of Gumbel noise. Warm samples (top) are nearly uniform whatever "
        "was drawn; cold ones (bottom) are nearly one-hot. The largest entry keeps its place at "
        f"every temperature; its mean is {largest}. Bottom right: the probabilities that all of "
        "them come from."
    )


def draw(found: dict[str, Any]) -> Any:
    """A row for each temperature, a column for each draw, the probabilities beside."""
    taus = found["temperatures"]
    figure, axes = canvas(4.2, DRAWS + 1, len(taus), sharey=True)
    figure.set_layout_engine(None)
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.03, top=0.92, wspace=0.3, hspace=0.25)
    places = list(range(len(found["probs"])))
    for row, (tau, samples) in enumerate(zip(taus, found["samples"], strict=True)):
        for column, sample in enumerate(samples):
            top = max(places, key=sample.__getitem__)
            colors = [BLUE if place == top else PALE for place in places]
            axes[row, column].bar(places, sample, color=colors, width=0.8)
            _quiet(axes[row, column])
        axes[row, 0].set_ylabel(f"τ = {tau:g}", rotation=0, ha="right", va="center", labelpad=8)
        bare(axes[row, DRAWS])
    for column in range(DRAWS):
        axes[0, column].set_title(f"draw {column + 1}", color=QUIET, fontsize=10)
    last = axes[-1, DRAWS]
    last.bar(places, found["probs"], color=INK, alpha=0.6, width=0.8)
    last.annotate("probabilities", (-0.4, max(found["probs"]) + 0.08), color=QUIET)
    _quiet(last)
    return figure


def _quiet(axes: Any) -> None:
    """A baseline alone; a sample fills the height where it is 1."""
    bare(axes)
    axes.spines.bottom.set_visible(True)
    axes.set(ylim=(0, 1.02))
