"""What is wrong with a run, by the monitor's rules on its records, or with somebody's sampler."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from inspect import unwrap
from pathlib import Path
from typing import Any

from reparam.diagnostics.imported import function_named
from reparam.diagnostics.monitor import Monitor
from reparam.diagnostics.records import Record, observation, read
from reparam.diagnostics.sicknesses import LEAST, NOT_FINITE, Diagnosis
from reparam.diagnostics.straight_through_check import check


@dataclass(frozen=True)
class Examination:
    """What was looked at, and what is wrong with it.

    observations: how many records were judged, the last at `step`.
    passed: of a checked function, what is right with it.
    """

    subject: str
    diagnoses: list[Diagnosis]
    observations: int = 0
    step: int = 0
    passed: list[str] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.diagnoses

    def asdict(self) -> dict[str, Any]:
        """For JSON."""
        own = {k: v for k, v in vars(self).items() if k != "diagnoses"}
        return {**own, "healthy": self.healthy, "diagnoses": [d.asdict() for d in self.diagnoses]}

    def __str__(self) -> str:
        said = "nothing wrong" if self.healthy else f"{len(self.diagnoses)} found"
        lines = [f"{self.subject}: {said}; {self._looked()}"]
        for diagnosis in self.diagnoses:
            texts = diagnosis.asdict()
            lines += ["", texts.pop("symptom")]
            lines += [f"  {name:<10}{text}" for name, text in texts.items()]
        return "\n".join(lines)

    def _looked(self) -> str:
        if not self.observations:
            return f"in order: {', '.join(self.passed) or 'nothing'}"
        early = "" if self.step >= LEAST else f", and most sicknesses show after {LEAST} steps"
        several = "s" if self.observations > 1 else ""
        return f"{self.observations} observation{several} up to step {self.step}{early}"


def examine(path: Path) -> Examination:
    """The sicknesses that stand at the end of a logged run.

    path: a run folder, or a `.jsonl` or `.csv` file.
    """
    return examination(str(path), read(path))


def examination(subject: str, records: Iterable[Record]) -> Examination:
    """The same of records, oldest first."""
    records = list(records)
    probes = [r for r in records if r.get("split") == "vitals"]
    judged = [observation(r) for r in probes or records if r.get("split") != "warning"]
    monitor = Monitor()
    for step, signs in judged:
        monitor.judge(step, signs)
    found = dict(monitor.standing)
    for record in records:
        if record.get("split") == "failure":
            found[NOT_FINITE.symptom] = NOT_FINITE.diagnosis(str(record.get("message", "")))
    last = max((step for step, _ in judged), default=0)
    return Examination(subject, list(found.values()), len(judged), last)


def examine_function(name: str) -> Examination:
    """What is wrong with a straight-through sampler, named `module:function` or `file.py:function`.

    Raises:
        ValueError: if there is none by that name.
    """
    function = function_named(name, "--check")
    diagnoses, passed = check(function)
    code = getattr(unwrap(function), "__code__", None)  # a class or a builtin has none
    place = f"{name} (line {code.co_firstlineno})" if code else name
    return Examination(place, diagnoses, passed=passed)
