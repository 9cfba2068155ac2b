"""The table of `reparam list`, read off the estimators themselves."""

import inspect
from dataclasses import MISSING, fields

from rich.markup import escape
from rich.table import Table

from reparam.core import Estimator
from reparam.estimators import ESTIMATORS


def listing() -> Table:
    """One row per estimator: spec, claims, definition, reference."""
    table = Table(box=None, padding=(0, 2, 1, 0), header_style="bold")
    for column in ("estimator", "unbiased", "exact", "pathwise", "definition and reference"):
        table.add_column(column, justify="center" if column in CLAIMS else "left")
    for name, cls in ESTIMATORS.items():
        claims = ["yes" if getattr(cls, claim) else "-" for claim in CLAIMS]
        definition, reference = map(escape, summary(cls))
        table.add_row(_spec(name, cls), *claims, f"{definition}\n[dim]{reference}[/dim]")
    return table


CLAIMS = ("unbiased", "exact", "pathwise")


def summary(cls: type[Estimator]) -> tuple[str, str]:
    """The first two paragraphs of an estimator's docstring: what it is, and who published it."""
    definition, reference, *_ = (inspect.getdoc(cls) or "").split("\n\n")
    return " ".join(definition.split()), " ".join(reference.split())


def _spec(name: str, cls: type[Estimator]) -> str:
    defaults = {f.name: f.default for f in fields(cls) if f.default is not None}  # type: ignore[arg-type]
    values = [f"{k}={'...' if v is MISSING else v}" for k, v in defaults.items()]
    return name + (":" + ",".join(values) if values else "")
