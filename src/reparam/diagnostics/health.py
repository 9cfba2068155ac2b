"""What a run's vital signs say, for its report."""

from collections.abc import Iterator, Sequence
from html import escape

from reparam.diagnostics.doctor import examination
from reparam.diagnostics.records import observation
from reparam.diagnostics.vitals import NAMES
from reparam.report.curves import Record
from reparam.report.page import Section, table


def health(records: Sequence[Record]) -> Iterator[Section]:
    """A section on what is wrong, and the last vital signs, if any were taken."""
    probes = [r for r in records if r["split"] == "vitals"]
    if not probes:
        return
    found = examination("run", records)
    body = "".join(
        f"<p><b>{escape(d.symptom)}</b>: {escape(d.evidence)}. Cause: {escape(d.cause)}. "
        f"Remedy: {escape(d.remedy)}.</p>"
        for d in found.diagnoses
    )
    step, signs = observation(probes[-1])
    rows = [(name, f"{value:.3g}", NAMES.get(name, "")) for name, value in signs.items()]
    note = "Nothing wrong was found." if found.healthy else "What stands at the end of the run."
    yield Section(
        "Health", f"{note} Below, the vital signs of a batch after step {step}.", body + table(rows)
    )
