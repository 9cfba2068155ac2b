"""Rows of figures as text."""

from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from typing import Any

HEAD = ["estimator", "n", "bias", "variance", "MSE", "SNR", "cosine", "ms", "costs", "memory"]


def table(
    rows: Sequence[Mapping[str, Any]], refused: Mapping[str, str], method: str, note: str = ""
) -> str:
    """A block of lines for each group, the reasons of what was refused, and the note."""
    text = "\n".join([*_blocks(rows, method), *_refusals(refused)]).strip()
    return f"{text}\n\nnote: {note}" if note else text


def number(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _blocks(rows: Sequence[Mapping[str, Any]], method: str) -> Iterator[str]:
    for group in dict.fromkeys(row["group"] for row in rows):
        members = [row for row in rows if row["group"] == group]
        first = members[0]
        about = f"error {number(first['truth_error'])}, " if first["truth_error"] else ""
        yield (
            f"gradient in {group}: true norm {number(first['truth'])} ({about}{method}); "
            f"{first['trials']:,} trials, 95 % intervals"
        )
        yield from _aligned([HEAD, *map(_cells, members)])
        yield ""


def _cells(row: Mapping[str, Any]) -> list[str]:
    below = f"< {number(row['bias_high'])}" if row["bias_high"] else "0"
    below = "nan" if isnan(row["bias"]) else below
    bias = _figure(row, "bias") if row["biased"] else below
    figures = [_figure(row, name) for name in ("variance", "mse", "snr", "cosine")]
    milliseconds = {k: v * 1e3 for k, v in row.items() if k.startswith("seconds")}
    memory = f"{row['memory'] / 1000:,.0f} kB"
    sizes = [_figure(milliseconds, "seconds"), str(row["evaluations"]), memory]
    return [row["estimator"], str(row["n"]), bias, *figures, *sizes]


def _figure(row: Mapping[str, Any], name: str) -> str:
    half = (row[f"{name}_high"] - row[f"{name}_low"]) / 2
    return number(row[name]) + (f" ±{half:.1g}" if half > 0 and not isnan(row[name]) else "")


def _aligned(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *rest in lines:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])


def _refusals(refused: Mapping[str, str]) -> Iterator[str]:
    if refused:
        yield "not measured:"
    yield from (f"  {name}: {reason}" for name, reason in refused.items())
