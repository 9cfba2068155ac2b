"""Sides of a comparison, timed in turn, and what comes of it."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.memory import peak
from benchmarks.speed.floors import ceiling, floor
from torch.distributions import Distribution

Call = Callable[[], object]
SMALL = 1_000_000  # elements, below which one call is too short to be timed alone


@dataclass(frozen=True)
class Side:
    """One way to do the work. fast: of ours, whether by numba; None for a standard."""

    name: str
    call: Call
    fast: bool | None = None


@dataclass(frozen=True)
class Contest:
    """Sides that do the same work on an input of a shape; `make` builds them when it is time.

    Standards come first, and the first of them is the one to beat.
    """

    operation: str
    shape: tuple[int, ...]
    make: Callable[[], list[Side]]

    @property
    def elements(self) -> int:
        """How many the input has."""
        product = 1
        for size in self.shape:
            product *= size
        return product


@contextmanager
def chosen(side: Side) -> Iterator[None]:
    """Our path of that side, by the switch that users have."""
    before = os.environ.get("REPARAM_FAST")
    if side.fast is not None:
        os.environ["REPARAM_FAST"] = str(int(side.fast))
    try:
        yield
    finally:
        os.environ.pop("REPARAM_FAST", None)
        if before is not None:
            os.environ["REPARAM_FAST"] = before


def seconds(side: Side, repeats: int) -> float:
    """Processor time of one call, the mean of some: one thread works, and others do not count.

    A call that is not timed goes before, right here: memory that the other side gave back to the
    system costs page faults to whoever comes next.
    """
    with chosen(side):
        side.call()
        start = time.process_time()
        for _ in range(repeats):
            side.call()
        return (time.process_time() - start) / repeats


def peak_tensors(side: Side, elements: int) -> float:
    """Peak memory of a call, in float32 tensors of the input's size."""
    with chosen(side):
        return peak(side.call, warm=False) / (4 * elements)


def compare(contest: Contest, rounds: int) -> list[dict[str, Any]]:
    """A row for each of ours against each standard; sides that cannot run are named and left."""
    # As users have it: importing pyro and compiling both switch validation off for the process.
    Distribution.set_default_validate_args(__debug__)  # type: ignore[no-untyped-call]
    sides = [side for side in contest.make() if _runs(side)]
    repeats = max(1, SMALL // contest.elements)
    times: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            times[side.name].append(seconds(side, repeats))
    peaks = {side.name: peak_tensors(side, contest.elements) for side in sides}
    ours = [side.name for side in sides if side.fast is not None]
    standards = [side.name for side in sides if side.fast is None]
    return [_row(contest, times, peaks, own, other) for other in standards for own in ours]


def _row(
    contest: Contest,
    times: dict[str, list[float]],
    peaks: dict[str, float],
    own: str,
    other: str,
) -> dict[str, Any]:
    ratios = sorted(b / a for a, b in zip(times[own], times[other], strict=True))
    ratio = statistics.median(ratios)
    least = floor(contest.operation, contest.shape, own, other)
    most = ceiling(contest.operation, contest.shape)
    return {
        "operation": contest.operation,
        "shape": list(contest.shape),
        "ours": own,
        "standard": other,
        "ratio": round(ratio, 3),
        "lowest": round(ratios[0], 3),
        "highest": round(ratios[-1], 3),
        "milliseconds": round(statistics.median(times[own]) * 1e3, 4),
        "standard_milliseconds": round(statistics.median(times[other]) * 1e3, 4),
        "peak": round(peaks[own], 2),
        "standard_peak": round(peaks[other], 2),
        "floor": least,
        "held": ratio >= least,
        "ceiling": most,
        "peak_held": most is None or peaks[own] <= most,
    }


def _runs(side: Side) -> bool:
    """Whether a first call succeeds; ours must."""
    try:
        with chosen(side):
            side.call()
    except Exception as error:
        if side.fast is not None:
            raise
        print(f"  {side.name}: left out, {type(error).__name__}: {str(error).splitlines()[:1]}")
        return False
    return True
