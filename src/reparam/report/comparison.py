"""The sections of a report that compares estimators, from plain rows."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from reparam.report.curves import COLORS, styled
from reparam.report.page import Section, plot, scroll

Row = Mapping[str, Any]
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up")


def sections(
    rows: Sequence[Row], text: str, refused: Mapping[str, str], note: str, seed: int
) -> Iterator[Section]:
    """The table, the bias-variance plane, variance against n; of all parameters together."""
    if note:
        yield Section("Note", f"{note[0].upper()}{note[1:]}.", "")
    total = [row for row in rows if row["group"] == "all"]
    yield Section(
        "Figures",
        "Of the gradient of the cost, summed over batch rows; half a 95 % interval after each. A "
        f"bias below which none was found is marked with <. The seed is {seed}.",
        scroll("figures", f"<pre>{escape(text)}</pre>") if text else "",
    )
    if total:
        yield Section(
            "Bias and variance",
            "The variance falls as draws are averaged, the bias does not. Bars are 95 % intervals.",
            plot(_plane(total)),
        )
        yield Section(
            "Variance against n",
            "Both axes are logarithmic: the mean of n independent samples has a slope of -1.",
            plot(_against_n(total)),
        )
    if refused:
        why = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in refused.items())
        yield Section("Not measured", "With the reasons.", f"<dl>{why}</dl>")


def _plane(rows: Sequence[Row]) -> Any:
    figure = _figure(rows, ("variance", "bias"), mode="markers")
    styled(figure, "variance", "bias")
    figure.update_xaxes(type="log", exponentformat="power", nticks=4, tickangle=0)
    figure.update_yaxes(rangemode="tozero")
    return figure


def _against_n(rows: Sequence[Row]) -> Any:
    figure = _figure(rows, ("n", "variance"), mode="lines+markers")
    styled(figure, "n", "variance")
    counts = sorted({row["n"] for row in rows})
    figure.update_xaxes(type="log", tickvals=counts, ticktext=[f"{n:,}" for n in counts])
    figure.update_yaxes(type="log", exponentformat="power")
    return figure


def _figure(rows: Sequence[Row], axes: tuple[str, str], mode: str) -> Any:
    """A series for each estimator, points by n, with the intervals of what has one."""
    import plotly.graph_objects as go  # noqa: PLC0415 (an extra, and slow to import)

    figure = go.Figure()
    for number, name in enumerate(dict.fromkeys(row["estimator"] for row in rows)):
        # A logarithmic axis has no place for the variance 0 of an exact estimator.
        own = [r for r in rows if r["estimator"] == name and r["variance"] > 0]
        place = {axis: [row[kind] for row in own] for axis, kind in zip("xy", axes, strict=True)}
        bars = {
            f"error_{axis}": _bars(own, kind)
            for axis, kind in zip("xy", axes, strict=True)
            if kind != "n"
        }
        color = COLORS[number % len(COLORS)]
        symbol = SYMBOLS[number // len(COLORS) % len(SYMBOLS)]
        figure.add_scatter(
            **place,
            **bars,
            name=name,
            mode=mode,
            text=[f"n = {row['n']}" for row in own],
            marker={"color": color, "symbol": symbol, "size": 8},
            line={"color": color},
        )
    return figure


def _bars(rows: Sequence[Row], name: str) -> dict[str, Any]:
    return {
        "type": "data",
        "array": [row[f"{name}_high"] - row[name] for row in rows],
        "arrayminus": [row[name] - row[f"{name}_low"] for row in rows],
        "thickness": 1,
    }
