"""The run folders of a sweep, and what became of each run."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reparam.diagnostics.doctor import examination
from reparam.recipes.config import kept, to_dict
from reparam.report.curves import Record
from reparam.report.sections import last_test
from reparam.sweeps.plan import Plan
from reparam.training.folder import RunFolder
from reparam.training.settings import Settings

FAILURE = "failure.txt"
"""Of a run folder: why the last attempt failed, if it did."""
LONGEST = 100


@dataclass(frozen=True)
class Outcome:
    """A run of a sweep as it stands: waiting, begun, done or failed.

    cell: the options that it shares with runs of other seeds. metrics: the final ones, of a run
    that is done. message: why it failed. found: symptoms that the doctor sees.
    """

    folder: RunFolder
    settings: Settings
    cell: dict[str, Any]
    state: str
    records: list[Record]
    metrics: dict[str, float]
    message: str
    found: list[str]

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.folder.path.name

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: a loss that is not a number comes again as it came."""
        return self.state == "done" or any(r["split"] == "failure" for r in self.records)

    def __str__(self) -> str:
        figures = "  ".join(f"{name} {value:.2f}" for name, value in self.metrics.items())
        return f"{self.name}: {self.state}  {self.message or figures}".rstrip()


def folders(plan: Plan, out: Path) -> list[RunFolder]:
    """The folder of each run of the plan, made where there is none yet.

    A run is known by its config, so that a plan may grow: what it had before keeps its folder.
    """
    made = [RunFolder(config.parent) for config in sorted(out.glob("*/config.json"))]
    owners = {kept(folder): folder for folder in made}
    numbers = [int(n) for f in made if (n := f.path.name.partition("-")[0]).isdecimal()]
    number = max(numbers, default=-1)
    for settings in plan.runs:
        if settings not in owners:
            number += 1
            owners[settings] = RunFolder(out / f"{number:03}-{_safe(plan.name(settings))}")
            owners[settings].create(to_dict(settings))
    return [owners[settings] for settings in plan.runs]


def outcome(plan: Plan, folder: RunFolder) -> Outcome:
    """What became of a run."""
    settings, records = kept(folder), list(folder.records())
    failure = folder.path / FAILURE
    messages = [r["message"] for r in records if r["split"] == "failure"]
    if failure.exists():
        messages.append(failure.read_text(encoding="utf-8"))
    final = any(r["split"] == "test" and r.get("final") for r in records)
    state = "begun" if records or folder.checkpoint.exists() else "waiting"
    if final and folder.report.exists():
        state = "done"
    elif messages:
        state = "failed"
    return Outcome(
        folder,
        settings,
        plan.cell(settings),
        state,
        records,
        metrics=last_test(records) if state == "done" else {},
        message=messages[0] if state == "failed" else "",
        found=[d.symptom for d in examination(folder.path.name, records).diagnoses],
    )


def _safe(text: str) -> str:
    """A name that every file system takes, and no shell changes."""
    return re.sub(r"[^A-Za-z0-9.,=_+]+", "-", text)[:LONGEST].rstrip(".-")
