"""How all figures look: quiet axes, labels on the lines themselves, the caption below."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import torch

INK, QUIET, PALE = "#1f2a37", "#5b6675", "#d5dae1"
BLUE, ORANGE, GREEN = "#2563eb", "#d9480f", "#047857"
CLEAR = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
"""Behind a label that lies on a grid."""
SETTINGS: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": QUIET,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titlesize": 10.5,
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": PALE,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "mathtext.fontset": "dejavusans",
    "svg.fonttype": "none",  # text that can be searched and read aloud
    "svg.hashsalt": "reparam",  # the same bytes from the same numbers
    "text.color": INK,
    "xtick.color": QUIET,
    "xtick.labelsize": 8.5,
    "ytick.color": QUIET,
    "ytick.labelsize": 8.5,
}
WIDTH = 8.0
"""Inches of every figure."""
COLUMNS = 122
"""Characters in a line of a caption."""


def canvas(height: float, columns: int, rows: int = 1, **options: Any) -> tuple[Any, Any]:
    """A figure, and its axes `(rows, columns)` without the dimensions that are 1."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra, and slow to import)

    figure: Any = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.09, h_pad=0.07)
    return figure, figure.subplots(rows, columns, **options)


def unbroken(text: str) -> str:
    """No line ends beside the sign of an equation, or within a pair of numbers."""
    return re.sub(r" (=|±|→) |(?<=\(\d,) (?=\d\))", lambda m: m[0].replace(" ", "\N{NBSP}"), text)


def captioned(figure: Any, text: str, command: str) -> Any:
    """The figure with the text below and a line for the command, for `bbox_inches="tight"`."""
    lines = textwrap.wrap(unbroken(text), COLUMNS, break_on_hyphens=False)
    wrapped = "\n".join([*lines, command])
    style = {"fontsize": 8.5, "color": QUIET, "va": "top", "linespacing": 1.45}
    figure.text(0.012, -0.02, wrapped, in_layout=True, parse_math=False, **style)
    return figure


def bare(axes: Any) -> None:
    """Axes without numbers or frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def plain_ticks(axis: Any, values: Sequence[float]) -> None:
    """Numbers as people write them, on an axis whose scale is logarithmic."""
    axis.set_ticks(list(values), [_plain(value) for value in values])
    axis.set_ticks([], minor=True)


def _plain(value: float) -> str:
    return f"{value:,.6f}".rstrip("0").rstrip(".")


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Places, in falling order, moved as little as will leave a gap between each two.

    Least squares: neighbours that are too close become a block about their common middle.
    """
    wanted = torch.tensor(places, dtype=torch.float64) + gap * torch.arange(len(places))
    blocks: list[tuple[float, int]] = []
    for place in wanted.tolist():
        mean, size = place, 1
        while blocks and blocks[-1][0] < mean:
            above, count = blocks.pop()
            mean, size = (above * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    moved = [mean for mean, size in blocks for _ in range(size)]
    return [place - gap * k for k, place in enumerate(moved)]
