"""The sections that every report has: results, learning curves, schedules, settings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reparam.report.curves import Record, curves
from reparam.report.page import Section, plot, table


def last_test(records: Sequence[Record]) -> dict[str, float]:
    """The metrics of the last test, by name."""
    tests = [r for r in records if r["split"] == "test"]
    place = ("step", "epoch", "split", "final")
    return {k: v for k, v in tests[-1].items() if k not in place} if tests else {}


def results(metrics: Mapping[str, float], remarks: Mapping[str, str], note: str) -> Section:
    """Metrics to two decimals, each with what it means."""
    rows = [(name, f"{value:.2f}", remarks.get(name, "")) for name, value in metrics.items()]
    return Section("Result", note, table(rows))


def learning(
    records: Sequence[Record], figures: Mapping[str, dict[str, tuple[str, str]]]
) -> Section:
    """A figure by the label of its vertical axis; its series as `curves` takes them."""
    body = "".join(plot(curves(records, series, y)) for y, series in figures.items())
    note = "Training curves are means between records; test curves are taken after every epoch."
    return Section("Learning curves", note, body)


def schedule(records: Sequence[Record], title: str, name: str) -> Iterator[Section]:
    """A section on what `settings_at` calls `name`, if the run had it."""
    values = [r[name] for r in records if name in r]
    if values:
        figure = curves(records, {title: ("train", name)}, title)
        note = f"From {values[0]:.3g} to {values[-1]:.3g} over the run."
        yield Section(title.capitalize(), note, plot(figure))


def options(config: Mapping[str, Any]) -> Section:
    """The settings of the run."""
    rows = [(name.replace("_", "-"), str(value), "") for name, value in config.items()]
    return Section("Settings", "As in config.json.", table(rows))
