"""Curves and heat maps, as plotly figures."""

from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]
INK, GRID = "#1f2a37", "#e5e7eb"
COLORS = ("#2563eb", "#ea580c", "#059669", "#7c3aed", "#db2777")


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

    figure = go.Figure(
        go.Heatmap(z=values, colorscale="Blues", zmin=0, colorbar={"title": {"text": scale}})
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
    """A figure as all of them look, its axes named."""
    figure.update_layout(
        template="plotly_white",
        height=340,
        margin={"l": 64, "r": 16, "t": 16, "b": 48},
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        legend={"orientation": "h", "y": 1.12, "x": 0},
        showlegend=len(figure.data) > 1,
    )
    figure.update_xaxes(title=x, gridcolor=GRID)
    figure.update_yaxes(title=y, gridcolor=GRID)
    return figure
