"""One figure: ours, theirs, and by which criterion they agree. Criteria are fixed beforehand."""

from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple


@dataclass(frozen=True)
class Row:
    """One line of a table.

    theirs: the published figure as printed, or a formula's value; None where there is none.
    error: standard error of ours; None where ours is exact.
    agrees: None where nothing is claimed, and the figure is only shown.
    """

    what: str
    ours: float | str
    theirs: float | str | None = None
    error: float | None = None
    criterion: str = ""
    agrees: bool | None = None

    @property
    def difference(self) -> float | None:
        """Ours minus theirs, where both are numbers."""
        if isinstance(self.ours, float) and isinstance(self.theirs, float):
            return self.ours - self.theirs
        return None

    @property
    def verdict(self) -> str:
        """The criterion's answer in a word."""
        return {None: "shown", True: "agrees", False: "DIFFERS"}[self.agrees]


class Estimate(NamedTuple):
    """A sampled figure and its standard error."""

    value: float
    error: float


def digits(what: str, ours: float, printed: str, units: int = 1) -> Row:
    """An exact figure against a rounded one: within `units` of the last printed digit."""
    theirs = float(printed)
    last = 10.0 ** -len(printed.partition(".")[2])
    agrees = abs(ours - theirs) <= units * last * (1 + 1e-9)
    return Row(what, ours, theirs, None, f"within {units * last:.0e}, the last digit", agrees)


def close(what: str, ours: float, theirs: float, tolerance: float) -> Row:
    """An exact figure against a formula: absolute tolerance."""
    return Row(what, ours, theirs, None, f"within {tolerance:.0e}", abs(ours - theirs) <= tolerance)


def sampled(what: str, ours: Estimate, theirs: float, allowed: float, why: str) -> Row:
    """A sampled figure against another: within `allowed`, for the reason given."""
    agrees = abs(ours.value - theirs) <= allowed
    return Row(what, ours.value, theirs, ours.error, f"within {allowed:.2g}: {why}", agrees)


def lower(what: str, ours: Estimate, than: Estimate, whom: str) -> Row:
    """A sampled figure that should be below another of ours, by 4 standard errors."""
    agrees = ours.value + 4 * (ours.error**2 + than.error**2) ** 0.5 < than.value
    criterion = f"below {whom} by 4 standard errors"
    return Row(what, ours.value, than.value, ours.error, criterion, agrees)


def shown(what: str, ours: float | str, error: float | None = None, note: str = "") -> Row:
    """A figure of ours with nothing published beside it."""
    return Row(what, ours, None, error, note)


def number(value: float | str | None) -> str:
    """For a table's cell."""
    if value is None:
        return ""
    if isinstance(value, str) or not isfinite(value):
        return str(value)
    return f"{value:.6g}"
