"""The run folder: config, metrics, checkpoint, report; each is written whole or not at all."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import torch

from reparam.report.whole import write_whole


class RunError(RuntimeError):
    """A run cannot go on; the message says what was expected, what came, and what to do."""


class RunFolder:
    """`config.json`, `metrics.jsonl`, `checkpoint.pt`, `report.html` in one folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.metrics = path / "metrics.jsonl"
        self.checkpoint = path / "checkpoint.pt"
        self.report = path / "report.html"

    def create(self, values: dict[str, Any]) -> None:
        """Start a new run here, of settings by name; refuse a folder that holds one."""
        if any(path.exists() for path in (self.config, self.metrics, self.checkpoint)):
            raise FileExistsError(
                f"--out: expected a folder without a run, got {self.path}, which holds one; "
                "continue it with --resume, or choose another"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"--out: expected a folder that can be made, got {self.path} ({error.strerror})"
            ) from None
        text = json.dumps(values, indent=2) + "\n"
        write_whole(self.config, lambda file: file.write(text.encode()))

    def values(self) -> Any:
        """What `create` wrote."""
        if not self.config.exists():
            raise FileNotFoundError(
                f"--out: expected a run folder to resume, with a config.json, got {self.path}; "
                "start the run without --resume"
            )
        return json.loads(self.config.read_text(encoding="utf-8"))

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint."""
        try:
            write_whole(self.checkpoint, lambda file: torch.save(state, file))
        except RuntimeError as error:
            # torch's writer stumbles over a file cut short, and hides why it was.
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return None
        try:
            with catch_warnings():
                simplefilter("ignore")  # what torch warns of, it refuses next
                state = torch.load(self.checkpoint, map_location=device, weights_only=True)
        except Exception as error:
            raise RunError(
                f"{self.checkpoint}: expected a checkpoint, got a file that torch cannot read "
                f"({type(error).__name__}); delete it to start the run again"
            ) from error
        if not isinstance(state, dict):
            raise RunError(
                f"{self.checkpoint}: expected a checkpoint of this run's model, got another "
                f"(a {type(state).__name__}); delete it to start the run again"
            )
        return state

    def records(self) -> Iterator[dict[str, Any]]:
        """The metrics, oldest first; a last line cut short by a crash is left out.

        Raises:
            RunError: for any other line that is no record, which resuming would drop.
        """
        if not self.metrics.exists():
            return
        lines = self.metrics.read_text(encoding="utf-8", errors="replace").split("\n")
        for number, line in enumerate(lines, 1):
            record = _record(line)
            if record is not None:
                yield record
            elif number < len(lines) and line.strip():
                raise RunError(
                    f"{self.metrics}: expected records with a step and a split, got {line[:40]!r} "
                    f"in line {number}; remove it"
                )

    def forget_after(self, step: int) -> None:
        """Drop the records of steps that will be taken again."""
        kept = [r for r in self.records() if r["step"] <= step and not r.get("final")]
        text = "".join(json.dumps(r) + "\n" for r in kept)
        write_whole(self.metrics, lambda file: file.write(text.encode()))

    def record(self, values: dict[str, Any]) -> None:
        """Append one line of metrics."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


def _record(line: str) -> dict[str, Any] | None:
    """What a line says, if it is what `RunFolder.record` writes."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    known = isinstance(record, dict) and isinstance(record.get("split"), str)
    return record if known and isinstance(record.get("step"), int) else None
