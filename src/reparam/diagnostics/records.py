"""Reading what a run logged: our folders, or anybody's JSON lines, CSV or TensorBoard events."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import Any

from reparam.diagnostics.vitals import NAMES

Record = dict[str, Any]
FILES = ("metrics.jsonl", "metrics.csv")
EVENTS = "events.out.tfevents.*"


def observation(record: Mapping[str, Any]) -> tuple[int, dict[str, float]]:
    """The step of a record and its signs: numbers by the last part of their names (`train/kl`).

    >>> observation({"step": "300", "train/kl": "0.5", "note": "", "epoch": 2})
    (300, {'kl': 0.5})
    """
    values = _named(record)
    signs = {k: float(v) for k, v in values.items() if _is_sign(k) and _is_number(v)}
    ends = [float(values[k]) for k in ("relaxed", "bound") if _is_number(values.get(k))]
    if len(ends) == 2:  # of a test: the two differ in the reconstruction
        signs.setdefault("gap", ends[0] - ends[1])
    return int(float(values["step"])), signs


def read(path: Path) -> list[Record]:
    """The records of a run folder, of a `.jsonl` or `.csv` file, or of a folder of TensorBoard's.

    Oldest first.

    Raises:
        ValueError: if there are none, or they have no `step` or none of the known signs.
        ImportError: if there are TensorBoard events, and tensorboard is missing.
    """
    file = next((path / name for name in FILES if (path / name).exists()), path)
    records = list(_records(file))
    names = sorted({name for record in records for name in record})
    if not records or not all(_is_step(_named(record).get("step")) for record in records):
        raise ValueError(
            f"doctor: expected records with a step in {file}, got {len(records)} records of "
            f"{', '.join(names) or 'nothing'}"
        )
    if not any("message" in record or observation(record)[1] for record in records):
        raise ValueError(
            f"doctor: expected columns among {', '.join(NAMES)} in {file}, got {', '.join(names)}"
        )
    return records


def _records(file: Path) -> Iterator[Record]:
    if file.is_dir() and any(file.glob(EVENTS)):
        return _events(file)
    if not file.is_file():
        raise ValueError(
            f"doctor: expected a folder with {', '.join(FILES)} or TensorBoard events, or such a "
            f"file, got {file}"
        )
    return _csv(file) if file.suffix == ".csv" else _json_lines(file)


def _events(folder: Path) -> Iterator[Record]:
    """A record for each step of each prefix of the scalars' names."""
    try:
        reader = import_module("tensorboard.backend.event_processing.event_accumulator")
    except ModuleNotFoundError:
        raise ImportError(
            f"doctor: expected tensorboard, to read {folder}; pip install 'reparam[tb]'"
        ) from None
    events = reader.EventAccumulator(str(folder), size_guidance={reader.SCALARS: 0})
    events.Reload()
    found: defaultdict[tuple[int, str], Record] = defaultdict(dict)
    for tag in events.Tags()["scalars"]:
        prefix, _, name = tag.rpartition("/")
        for event in events.Scalars(tag):
            found[event.step, prefix][name] = event.value
    for (step, prefix), values in sorted(found.items()):
        yield {"step": step, "split": prefix, **values}


def _json_lines(file: Path) -> Iterator[Record]:
    """Every line that is an object: one may be cut short by a crash, or be somebody's print."""
    for line in file.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record


def _csv(file: Path) -> Iterator[Record]:
    with file.open(newline="", encoding="utf-8", errors="replace") as lines:
        try:
            for row in csv.DictReader(lines):
                yield {k: v for k, v in row.items() if k and v not in ("", None)}
        except csv.Error as error:
            raise ValueError(f"doctor: expected CSV, got {file}: {error}") from None


def _named(record: Mapping[str, Any]) -> Record:
    return {name.rpartition("/")[2]: value for name, value in record.items()}


def _is_sign(name: str) -> bool:
    return name in NAMES or name.endswith("_moves")


def _is_step(value: Any) -> bool:
    return _is_number(value) and isfinite(float(value))


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (OverflowError, TypeError, ValueError):
        return False
    return True
