"""Curves and heat maps, as plotly figures."""

from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]
COLORS = ("#3b82f6", "#ea580c", "#059669", "#8b5cf6", "#db2777")
"""Of series: three times as light or dark as the paper, be it white or black."""


def curves(records: Sequence[Record], series: dict[str, tuple[str, str]], y: str) -> Any:
    """Lines over steps: label -> (split, metric); a metric that no record has is left out."""
    import plotly.graph_objects as go  # noqa: PLC0415 (an extra, and slow to import)

    figure = go.Figure()
    for (label, (split, metric)), color in zip(series.items(), COLORS, strict=False):
        points = [(r["step"], r[metric]) for r in records if r["split"] == split and metric in r]
        if not points:
            continue
        x, values = zip(*points, strict=True)
        mode = "lines+markers" if len(points) < 60 else "lines"
        figure.add_scatter(x=x, y=values, name=label, mode=mode, line={"color": color, "width": 2})
    return styled(figure, "step", y)


def heat(values: Sequence[Sequence[float]], x: str, y: str, scale: str) -> Any:
    """A heat map, rows from the top; `scale` names what the color means."""
    import plotly.graph_objects as go  # noqa: PLC0415

    shown = "<br>".join((f"{x}: %{{x}}", f"{y}: %{{y}}", f"{scale}: %{{z:.3g}}"))
    figure = go.Figure(
        go.Heatmap(
            z=values,
            zmin=0,
            colorbar={"title": {"text": scale}, "thickness": 14},
            hovertemplate=f"{shown}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", dtick=1 if len(values) <= 10 else 5)
    figure.update_xaxes(dtick=1)
    return styled(figure, x, y)


def bars(values: Sequence[float], x: str, y: str) -> Any:
    """One bar per unit, the largest first."""
    import plotly.graph_objects as go  # noqa: PLC0415

    figure = go.Figure(go.Bar(y=sorted(values, reverse=True), marker={"color": COLORS[0]}))
    return styled(figure, x, y)


def styled(figure: Any, x: str, y: str) -> Any:
    """A figure as all of them look, its axes named; page.js adds the colors of the theme."""
    figure.update_layout(
        template="none",
        margin={"l": 64, "r": 16, "t": 16, "b": 48},
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "maxheight": 0.9},
        showlegend=len(figure.data) > 1,
    )
    figure.update_xaxes(title=x)
    # Numbers of many digits need room.
    figure.update_yaxes(title={"text": y, "standoff": 8}, automargin="width")
    return figure
