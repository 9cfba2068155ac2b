"""What a comparison found: rows of figures, advice, a table, a report."""

import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reparam.diagnostics.table import number, table

Row = dict[str, Any]
Unit = Literal["evaluations", "seconds"]
WORDS = {"evaluations": "cost evaluations", "seconds": "seconds"}


class Advice(NamedTuple):
    """An estimator, its n, and how many draws to average; the error that is then expected."""

    estimator: str
    n: int
    draws: int
    mse: float
    why: str

    def __str__(self) -> str:
        return self.why


@dataclass(frozen=True)
class Comparison:
    """The figures of `compare`, one row for each estimator, n and group of parameters.

    They are of g, the gradient of `combine(cost(points)).sum()`: of the cost summed over batch
    rows, all rows together. A loss that is the mean over B rows has 1/B of the bias and 1/B^2 of
    the variance. Every trial is one such g, on a seed of its own, the same for every estimator;
    learned baselines and control variates stay as they are.

    bias: |E g - truth|. variance: E |g - E g|^2, the trace of the covariance. mse: E |g - truth|^2.
    snr: |E g| over the root of the variance. cosine: between E g and the truth, so of the bias
    alone. seconds: median time of q, cost and backward, on one thread. evaluations: points P of a
    draw. memory: bytes that torch's allocator holds at its peak in one draw.
    `name_low` and `name_high` are the ends of a 95 % interval (delete-one-block jackknife over 16
    blocks of trials; bias and snr from the variance of a U-statistic, seconds from order
    statistics), which includes the uncertainty of a truth that was sampled; close to 1, that of the
    cosine covers 88 %. biased: whether
    bias_p, the chance of such an error without bias, is below 0.001. truth: its norm; truth_error:
    its standard error, 0 of an exact one.

    refused: the estimators that could not be measured, and why. method: how the truth was found.
    note: what should be known of all figures, if anything.
    """

    rows: list[Row]
    refused: dict[str, str]
    method: str
    seed: int
    note: str = ""

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """The rows as text, with half the 95 % interval after each figure."""
        return table(self.rows, self.refused, self.method, self.note)

    def best(self, budget: float | None = None, unit: Unit = "evaluations") -> Advice:
        """The least mean squared error at equal cost, of all parameters together.

        budget: of cost evaluations for each batch row, or of seconds; by default what the dearest
            row takes. As many draws as it pays for are averaged: the variance falls, the bias, if
            one was found, stays.
        """
        if unit not in WORDS:
            raise ValueError(f"unit: expected one of {', '.join(WORDS)}, got {unit!r}")
        if not isinstance(budget, int | float | None):
            raise TypeError(f"budget: expected a number of {WORDS[unit]}, got {budget!r}")
        rows = self._finite()
        budget = max((row[unit] for row in rows), default=0) if budget is None else budget
        offers = sorted(_offer(row, budget, unit) for row in rows if row[unit] <= budget)
        if not offers:
            least = min((row[unit] for row in rows), default=None)
            raise ValueError(
                f"budget: expected what pays for a draw ({least} {WORDS[unit]} at least), got "
                f"{budget}"
            )
        first, *others = offers
        rival = next((o for o in others if o.row["estimator"] != first.row["estimator"]), None)
        why = f"{_described(first)} at {number(budget)} {WORDS[unit]}{_against(first, rival)}"
        return Advice(first.row["estimator"], first.row["n"], first.draws, first.mse, why)

    @property
    def advice(self) -> str:
        """The sentence of `best()`; empty where there is nothing to choose from."""
        return self.best().why if self._finite() else ""

    def _finite(self) -> list[Row]:
        return [row for row in self.rows if row["group"] == "all" and isfinite(row["mse"])]

    def save(self, path: str | Path) -> Path:
        """Write `path` with the ending .json; beside it, where `path` ends in .html, a report."""
        path = Path(path)
        if path.suffix not in (".json", ".html"):
            raise ValueError(f"path: expected a name ending in .json or .html, got {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        values = {"method": self.method, "seed": self.seed, "refused": self.refused}
        values |= {"note": self.note} if self.note else {}
        rows = [{name: _plain(value) for name, value in row.items()} for row in self.rows]
        text = json.dumps({**values, "rows": rows}, indent=1, allow_nan=False) + "\n"
        path.with_suffix(".json").write_text(text, encoding="utf-8")
        if path.suffix == ".html":
            from reparam.report.comparison import sections  # noqa: PLC0415 (needs plotly)
            from reparam.report.page import write_page  # noqa: PLC0415

            text = table(self.rows, {}, self.method)
            found = sections(self.rows, text, self.refused, self.note, self.seed)
            write_page(path, "Estimators compared", self.advice, found)
        return path


class _Offer(NamedTuple):
    """What a budget buys: the mean squared error of the mean of some draws; its interval."""

    mse: float
    price: float
    low: float
    high: float
    draws: int
    share: float
    row: Row

    def __lt__(self, other: tuple[Any, ...]) -> bool:
        return (self.mse, self.price) < other[:2]


def _offer(row: Row, budget: float, unit: Unit) -> _Offer:
    draws = int(budget / row[unit])
    bias = row["bias"] ** 2 if row["biased"] else 0.0
    mse = row["variance"] / draws + bias
    low = row["variance_low"] / draws + row["bias_low"] ** 2
    high = row["variance_high"] / draws + row["bias_high"] ** 2
    return _Offer(mse, row[unit], low, high, draws, bias / mse if mse else 0.0, row)


def _described(offer: _Offer) -> str:
    mean = f", the mean of {offer.draws:,} draws," if offer.draws > 1 else ""
    return (
        f"{offer.row['estimator']} with n = {offer.row['n']}{mean} has the least mean squared "
        f"error, {number(offer.mse)} ({_source(offer)}),"
    )


def _source(offer: _Offer) -> str:
    return f"{offer.share:.0%} of it bias" if offer.share else "no bias found"


def _against(first: _Offer, rival: _Offer | None) -> str:
    if rival is None:
        return ""
    told = "; within the error of measurement, so is" if rival.low <= first.high else "; next is"
    return f"{told} {rival.row['estimator']} with {number(rival.mse)} ({_source(rival)})"


def _plain(value: Any) -> Any:
    """JSON has no infinity."""
    return None if isinstance(value, float) and not isfinite(value) else value
