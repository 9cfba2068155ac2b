"""Reading what a run logged: our run folders, or anybody's JSON lines and CSV."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reparam.diagnostics.vitals import NAMES

Record = dict[str, Any]
FILES = ("metrics.jsonl", "metrics.csv")


def observation(record: Mapping[str, Any]) -> tuple[int, dict[str, float]]:
    """The step of a record and its signs: numbers by the last part of their names (`train/kl`).

    >>> observation({"step": "300", "train/kl": "0.5", "note": "", "epoch": 2})
    (300, {'kl': 0.5})
    """
    values = _named(record)
    signs = {k: float(v) for k, v in values.items() if _is_sign(k) and _is_number(v)}
    if {"relaxed", "bound"} <= values.keys():  # of a test: the two differ in the reconstruction
        signs.setdefault("gap", float(values["relaxed"]) - float(values["bound"]))
    return int(float(values["step"])), signs


def read(path: Path) -> list[Record]:
    """The records of a run folder, or of a `.jsonl` or `.csv` file, oldest first.

    Raises:
        ValueError: if there are none, or they have no `step` or none of the known signs.
    """
    file = next((path / name for name in FILES if (path / name).exists()), path)
    if not file.is_file():
        raise ValueError(
            f"doctor: expected a run folder with {' or '.join(FILES)}, or such a file, got {path}"
        )
    records = list(_csv(file) if file.suffix == ".csv" else _json_lines(file))
    names = sorted({name for record in records for name in record})
    if not records or not all(_is_number(_named(record).get("step")) for record in records):
        raise ValueError(
            f"doctor: expected records with a step in {file}, got {len(records)} records of "
            f"{', '.join(names) or 'nothing'}"
        )
    if not any("message" in record or observation(record)[1] for record in records):
        raise ValueError(
            f"doctor: expected columns among {', '.join(NAMES)} in {file}, got {', '.join(names)}"
        )
    return records


def _json_lines(file: Path) -> Iterator[Record]:
    """Every whole line; a last one cut short by a crash is left out."""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            return
        if not isinstance(record, dict):
            return
        yield record


def _csv(file: Path) -> Iterator[Record]:
    with file.open(newline="", encoding="utf-8", errors="replace") as lines:
        for row in csv.DictReader(lines):
            yield {k: v for k, v in row.items() if k and v not in ("", None)}


def _named(record: Mapping[str, Any]) -> Record:
    return {name.rpartition("/")[2]: value for name, value in record.items()}


def _is_sign(name: str) -> bool:
    return name in NAMES or name.endswith("_moves")


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True
