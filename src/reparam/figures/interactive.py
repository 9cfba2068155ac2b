"""The explorer: a page where the temperature moves and the noise stays."""

import json
from collections.abc import Iterator, Mapping
from math import log, log10
from pathlib import Path
from typing import Any

from reparam.figures import bias_variance
from reparam.report.curves import COLORS, styled
from reparam.report.page import Section, plot, write_page

HERE = Path(__file__).parent
SIMPLEX = (0.5, 0.3, 0.2)
"""Probabilities of the three classes of the triangle."""
LOW, HIGH, MARKS = -1.3, 1.0, (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
"""Ends of the slider, in powers of ten; the temperatures written below it."""
AXES = {"tau": "temperature τ", "bias": "relative bias", "variance": "variance"}


def write_explorer(found: Mapping[str, Any], seed: int, out: Path) -> Path:
    """`explorer.html` in the folder, from what figures found; bias-variance is measured if need be.

    Its draws begin with the seed.
    """
    numbers = found.get("bias-variance") or bias_variance.measure(seed)
    return write_page(
        out / "explorer.html",
        "What the temperature does",
        "A relaxed sample is softmax((logits + Gumbel noise) / τ). Move τ: the noise of a draw "
        "stays, so the largest entry is the same at every temperature.",
        _sections(numbers, seed),
        controls=_control(),
        style=_asset("explorer.css"),
        script=_asset("explorer.js"),
    )


def _control() -> str:
    """The temperature, on a logarithmic scale; it stays in sight."""
    marks = "".join(
        f'<span style="--at: {(log10(tau) - LOW) / (HIGH - LOW):.4f}">{tau:g}</span>'
        for tau in MARKS
    )
    return (
        '<div id="control"><label for="tau">Temperature τ = <output id="tau-value" for="tau">'
        f'</output></label><div><input type="range" id="tau" min="{LOW}" max="{HIGH}" step="0.02" '
        f'value="0"><div class="marks" aria-hidden="true">{marks}</div></div>'
        '<button type="button" id="again">New draws</button></div>'
    )


def _sections(numbers: Mapping[str, Any], seed: int) -> Iterator[Section]:
    data = {"problem": numbers["logits"], "seed": seed, "simplex": [log(p) for p in SIMPLEX]}
    yield Section(
        "Draws",
        "Six draws of a categorical. The blue bar is the class whose logit and noise have the "
        "largest sum: cold samples are nearly its one-hot vector, warm ones nearly uniform.",
        _asset("draws.html")
        + f'<script type="application/json" id="explorer">{json.dumps(data)}</script>',
    )
    yield Section(
        "Mean of many draws",
        "The winners are distributed as softmax(logits), exactly, at any temperature. Relaxed "
        "samples are not: when they are warm, their mean leans to the uniform distribution. That "
        "is where the bias comes from.",
        _asset("mean.html"),
    )
    yield Section(
        "On the simplex",
        "Three hundred relaxed samples of three classes with probabilities "
        f"{', '.join(f'{p:g}' for p in SIMPLEX)}; each goes to the corner of its winner.",
        '<svg id="simplex" viewBox="0 0 100 92" role="img" aria-label="Points in a triangle, '
        'gathered in its corners when cold, in its middle when warm"><polygon points="5,86 95,86 '
        '50,8"/><text x="5" y="91">1</text><text x="95" y="91">2</text><text x="50" y="5">3</text>'
        "<g></g></svg>",
    )
    yield Section(
        "Bias and variance of the gradient",
        f"Measured for the logits called measured, {numbers['draws']:,} points at each "
        "temperature; bias relative to the gradient's length, variance the trace of the "
        "covariance. For a linear cost, straight-through has the gradient of the soft samples. "
        "Circles are the measured temperature nearest to yours. Drag to zoom.",
        _planes(numbers),
    )


def _planes(numbers: Mapping[str, Any]) -> str:
    """The plane, and each of its axes against the temperature."""
    taus, curves = numbers["temperatures"], numbers["curves"].items()
    place = {name: {"tau": taus, **curve} for name, curve in curves}
    plane = plot(_figure(place, "bias", "variance", taus))
    parts = (plot(_figure(place, "tau", y, taus)) for y in ("bias", "variance"))
    return (
        '<p class="nearest">Nearest measured temperature: <b id="nearest"></b></p>'
        f'<div class="follows">{plane}<div class="pair">{"".join(parts)}</div></div>'
    )


def _figure(
    curves: Mapping[str, Mapping[str, list[float]]], x: str, y: str, taus: list[float]
) -> Any:
    """A line for each cost and estimator, and at the end a trace for the points of one tau."""
    import plotly.graph_objects as go  # noqa: PLC0415 (an extra, and slow to import)

    said = [f"{AXES[name]} %{{{axis}:.3g}}" for axis, name in (("x", x), ("y", y)) if name != "tau"]
    figure = go.Figure()
    for (name, curve), color in zip(curves.items(), COLORS, strict=False):
        figure.add_scatter(
            x=curve[x],
            y=curve[y],
            customdata=taus,
            name=name,
            mode="lines+markers",
            line={"color": color, "width": 2},
            hovertemplate="<br>".join(["τ = %{customdata:.2g}", *said]),
        )
    figure.add_scatter(
        x=[],
        y=[],
        meta="here",
        mode="markers",
        marker={"size": 15, "color": "rgba(0, 0, 0, 0)"},
        hoverinfo="skip",
        showlegend=False,
    )
    styled(figure, AXES[x], AXES[y])
    for axis, name in ((figure.update_xaxes, x), (figure.update_yaxes, y)):
        axis(rangemode="tozero") if name == "bias" else axis(
            type="log", dtick=1, exponentformat="power"
        )
    return figure


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
