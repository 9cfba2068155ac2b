"""One table of a sweep: the final metrics of each cell, over its seeds."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import nan, sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.table import Table
from rich.text import Text

from reparam.report.whole import write_whole
from reparam.sweeps.folder import Outcome
from reparam.sweeps.plan import named

LARGER = {"bound", "coherence", "kendall_tau", "permutations", "pieces", "ranks", "solved"}
SMALLER = {"decoder", "error", "l1", "l2", "nats", "nats_per_word", "perplexity", "pruned_error"}
SMALLER |= {"regression"}


@dataclass(frozen=True)
class Figure:
    """A metric of a cell. error: the standard error of its mean over seeds, nan of one alone."""

    mean: float
    error: float
    best: bool = False

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + (f" ± {self.error:.2g}" if self.error >= 0 else "")


@dataclass(frozen=True)
class Cell:
    """Runs that differ in the seed alone. done: how many of them are, which the figures are of.

    options: those of a sweep that vary, but the seed.
    """

    options: dict[str, Any]
    runs: int
    done: int
    figures: dict[str, Figure]


def cells(outcomes: Sequence[Outcome]) -> list[Cell]:
    """The cells of a sweep, in its order, the best mean of each metric marked."""
    found = []
    for own in grouped(outcomes):
        done = [o.metrics for o in own if o.state == "done"]
        metrics = list(done[0]) if done else []
        figures = {metric: _figure([values[metric] for values in done]) for metric in metrics}
        found.append(Cell(own[0].cell, len(own), len(done), figures))
    return [_marked(cell, found) for cell in found]


def grouped(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """The runs of each cell, in the order of the sweep."""
    groups: dict[str, list[Outcome]] = {}
    for o in outcomes:
        groups.setdefault(named(o.cell), []).append(o)
    return list(groups.values())


def judged(cells: Sequence[Cell]) -> list[str]:
    """The metrics of which larger or smaller is better; all where that is said of none."""
    names = list(dict.fromkeys(metric for cell in cells for metric in cell.figures))
    return [name for name in names if _sign(name)] or names


def table(cells: Sequence[Cell]) -> Table:
    """For the console."""
    metrics = judged(cells)
    options = list(cells[0].options)
    shown = Table(*options, "done", *metrics, box=None, pad_edge=False)
    for column in shown.columns:
        column.overflow = "fold"
    for column in shown.columns[len(options) :]:
        column.justify = "right"
    for cell in cells:
        figures = (cell.figures.get(metric) for metric in metrics)
        texts = (Text(str(f or ""), style="bold" if f and f.best else "") for f in figures)
        values = (Text(str(value)) for value in cell.options.values())
        shown.add_row(*values, f"{cell.done}/{cell.runs}", *texts)
    return shown


def write(outcomes: Sequence[Outcome], out: Path) -> None:
    """`summary.csv`, a line for each cell, and `summary.json`, which has the runs too."""
    summed = cells(outcomes)
    runs = [_plain(o) for o in outcomes]
    plain = {"cells": [asdict(cell) for cell in summed], "runs": runs}
    text = json.dumps(_without_nan(plain), indent=2) + "\n"
    write_whole(out / "summary.json", lambda file: file.write(text.encode()))
    lines = _csv(summed)
    write_whole(out / "summary.csv", lambda file: file.write(lines.encode()))


def _figure(values: Sequence[float]) -> Figure:
    error = stdev(values) / sqrt(len(values)) if len(values) > 1 else nan
    return Figure(mean(values), error)


def _sign(metric: str) -> int:
    """1 if larger is better, -1 if smaller is, 0 if neither."""
    name = re.sub(r"_\d+$", "", metric)
    return (name in LARGER) - (name in SMALLER)


def _marked(cell: Cell, others: Sequence[Cell]) -> Cell:
    figures = {}
    for metric, figure in cell.figures.items():
        rivals = [c.figures[metric].mean for c in others if metric in c.figures]
        sign = _sign(metric)
        best = sign != 0 and len(rivals) > 1 and sign * figure.mean >= max(sign * r for r in rivals)
        figures[metric] = Figure(figure.mean, figure.error, best)
    return replace(cell, figures=figures)


def _plain(o: Outcome) -> dict[str, Any]:
    own = {"state": o.state, "metrics": o.metrics, "message": o.message, "found": o.found}
    return {"folder": o.name, "options": asdict(o.settings), **own}


def _csv(cells: Sequence[Cell]) -> str:
    metrics = list(dict.fromkeys(metric for cell in cells for metric in cell.figures))
    names = [name for metric in metrics for name in (metric, f"{metric}_error")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*cells[0].options, "runs", "done", *names])
    for cell in cells:
        writer.writerow([*cell.options.values(), cell.runs, cell.done, *_numbers(cell, metrics)])
    return text.getvalue()


def _numbers(cell: Cell, metrics: Sequence[str]) -> Iterator[float | str]:
    for metric in metrics:
        figure = cell.figures.get(metric)
        yield figure.mean if figure else ""
        yield figure.error if figure and figure.error >= 0 else ""


def _without_nan(value: Any) -> Any:
    """JSON has none: null in its place."""
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if value != value else value  # noqa: PLR0124 (only nan differs from itself)
