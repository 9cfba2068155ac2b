"""The page of a sweep: its table, learning curves by cell, and what ails each run."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from statistics import mean
from typing import Any
from urllib.parse import quote

from reparam.report.curves import COLORS, styled
from reparam.report.page import Section, plot, scroll, write_page
from reparam.sweeps.folder import Outcome
from reparam.sweeps.plan import Plan
from reparam.sweeps.summary import Cell, cells, grouped, judged

DASHES = ("solid", "dash", "dot", "dashdot")


def write_report(plan: Plan, outcomes: Sequence[Outcome], out: Path) -> Path:
    """`sweep.html`, of whatever there is so far."""
    done = sum(o.state == "done" for o in outcomes)
    subtitle = f"{done} of {len(outcomes)} runs of {plan.file.name} are done."
    sections = _sections(outcomes)
    return write_page(out / "sweep.html", f"Sweep of {plan.model}", subtitle, sections)


def _sections(outcomes: Sequence[Outcome]) -> Iterator[Section]:
    summed = cells(outcomes)
    yield Section(
        "Result",
        "Final metrics of the test set: the mean over seeds, ± its standard error. The best mean "
        "of each is bold; others may be as good where the errors are as large as the distance.",
        _table(summed),
    )
    metrics = judged(summed)[:1] or ["bound"]
    yield Section(
        "Learning curves",
        "The mean over seeds, after every epoch, as far as all runs of a cell have come.",
        "".join(plot(_curves(outcomes, metric)) for metric in metrics),
    )
    yield Section("Runs", "Each has a report of its own.", _runs(outcomes))


def _table(summed: Sequence[Cell]) -> str:
    metrics = list(dict.fromkeys(metric for cell in summed for metric in cell.figures))
    rows = [[*map(_th, _values(cell)), *map(_number, _figures(cell, metrics))] for cell in summed]
    head = [*summed[0].options, "done", *metrics]
    return _html("result", list(map(escape, head)), rows)


def _values(cell: Cell) -> Iterator[str]:
    return (escape(str(value)) for value in cell.options.values())


def _figures(cell: Cell, metrics: Sequence[str]) -> Iterator[str]:
    yield f"{cell.done}/{cell.runs}"
    for figure in map(cell.figures.get, metrics):
        yield f"<b>{figure}</b>" if figure and figure.best else str(figure or "")


def _runs(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for o in outcomes:
        link = f'<a href="{quote(o.name)}/report.html">{escape(o.name)}</a>'
        name = link if o.folder.report.exists() else escape(o.name)
        said = escape("; ".join([o.message, *o.found] if o.message else o.found))
        rows.append([_th(name), f"<td>{o.state}</td>", f'<td class="remark">{said}</td>'])
    return _html("runs", ["run", "state", "found"], rows)


def _th(html: str) -> str:
    return f'<th scope="row">{html}</th>'


def _number(html: str) -> str:
    return f'<td class="number">{html}</td>'


def _html(label: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{name}</th>' for name in head)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return scroll(label, f"<table><tr>{top}</tr>{body}</table>")


def _curves(outcomes: Sequence[Outcome], metric: str) -> Any:
    """A line for each cell."""
    import plotly.graph_objects as go  # noqa: PLC0415 (an extra, and slow to import)

    figure = go.Figure()
    for number, own in enumerate(grouped(outcomes)):
        points = _means(own, metric)
        name = ", ".join(map(str, own[0].cell.values()))
        color = COLORS[number % len(COLORS)]
        dash = DASHES[number // len(COLORS) % len(DASHES)]
        line = {"color": color, "dash": dash, "width": 2}
        x, y = list(points), list(points.values())
        figure.add_scatter(x=x, y=y, name=name, mode="lines+markers", line=line)
    return styled(figure, "step", metric)


def _means(own: Sequence[Outcome], metric: str) -> dict[int, float]:
    """By step, of the steps that all runs have which have begun and not failed."""
    series = [
        {r["step"]: r[metric] for r in o.records if r["split"] == "test" and metric in r}
        for o in own
        if o.state in ("done", "begun")
    ]
    steps = sorted(set.intersection(*map(set, series))) if series else []
    return {step: mean(values[step] for values in series) for step in steps}
