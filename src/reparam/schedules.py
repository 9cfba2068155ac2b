"""Numbers that change as training goes on: temperatures, KL weights, any float of an estimator.

A schedule is a function of the step, `at(step)`. For loops that do not count their own steps it
also keeps one: `value` now, `step()` to advance, `state_dict()` to checkpoint.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import cos, exp, log, pi

from reparam.checks import check_finite
from reparam.core import Estimator

__all__ = [
    "Constant",
    "Cosine",
    "Cyclic",
    "Exponential",
    "Linear",
    "Schedule",
    "drive",
    "driveable",
]


class Schedule(ABC):
    """The interface."""

    _step = 0

    @abstractmethod
    def at(self, step: int) -> float:
        """The value at a step, counted from 0."""

    @property
    def value(self) -> float:
        """The value at the current step."""
        return self.at(self._step)

    def step(self) -> float:
        """Advance by one step; the new value."""
        self._step += 1
        return self.value

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint needs: the current step."""
        return {"step": self._step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from a checkpoint."""
        self._step = int(state["step"])


@dataclass
class Constant(Schedule):
    """The same number always."""

    constant: float

    def __post_init__(self) -> None:
        check_finite("constant", self.constant)

    def at(self, step: int) -> float:
        return self.constant


@dataclass
class Linear(Schedule):
    """From start to end in a straight line over `steps` steps, then end.

    >>> [Linear(0.0, 1.0, steps=4).at(step) for step in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 1.0]
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        _check_positive("steps", self.steps)
        _check_ends(self)

    def at(self, step: int) -> float:
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)


@dataclass
class Exponential(Schedule):
    """max(end, start * e^(-rate * step)), held between checks every `every` steps.

    Jang et al. 2017, section 4.2, anneal a temperature so, with r = 1e-5 checked every 1,000
    steps: 69,315 steps from 1 to 0.5, more than most runs have. `reaching` derives the rate from
    the planned number of steps instead.
    """

    start: float
    end: float
    rate: float
    every: int = 1

    def __post_init__(self) -> None:
        if not self.start >= self.end > 0:
            raise ValueError(
                f"Exponential: expected start >= end > 0, got start={self.start}, end={self.end}; "
                "Linear and Cosine also rise"
            )
        _check_ends(self)
        if not self.rate >= 0:
            raise ValueError(f"Exponential: expected rate >= 0, got {self.rate}")
        _check_positive("every", self.every)

    @classmethod
    def reaching(cls, start: float, end: float, steps: int, every: int = 1) -> "Exponential":
        """The schedule that is at `end` by the last check within `steps` steps.

        >>> Exponential.reaching(1.0, 0.5, steps=101).at(100)
        0.5
        """
        _check_positive("steps", steps)
        _check_positive("every", every)
        last = max((steps - 1) // every * every, every)
        # A hair above the exact rate, so that rounding cannot leave the value short of the end.
        rate = log(start / end) / last * (1 + 1e-12) if start > end > 0 else 0.0
        return cls(start, end, rate, every)

    def at(self, step: int) -> float:
        return max(self.end, self.start * exp(-self.rate * (step // self.every * self.every)))


@dataclass
class Cosine(Schedule):
    """From start to end along half a cosine over `steps` steps, then end (Loshchilov 2017)."""

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        _check_positive("steps", self.steps)
        _check_ends(self)

    def at(self, step: int) -> float:
        done = min(step / self.steps, 1.0)
        return self.end + (self.start - self.end) * (1 + cos(pi * done)) / 2


@dataclass
class Cyclic(Schedule):
    """From start to end in the first part of every period, then end until the period is over.

    Fu et al. 2019, "Cyclical Annealing Schedule", arXiv:1903.10145.

    period: in steps. ramp: the part of a period spent on the way, in (0, 1].
    """

    start: float
    end: float
    period: int
    ramp: float = 0.5

    def __post_init__(self) -> None:
        _check_positive("period", self.period)
        _check_ends(self)
        if not 0 < self.ramp <= 1:
            raise ValueError(f"ramp: expected a part of the period in (0, 1], got {self.ramp}")

    def at(self, step: int) -> float:
        done = min(step % self.period / self.period / self.ramp, 1.0)
        return self.start + (self.end - self.start) * done


def drive(estimator: Estimator, step: int, **schedules: Schedule) -> Estimator:
    """The estimator with the named float fields set to their schedules' values at a step.

    >>> from reparam.estimators import GumbelSoftmax
    >>> drive(GumbelSoftmax(), step=50, tau=Linear(1.0, 0.5, steps=100))
    GumbelSoftmax(tau=0.75)
    """
    if not schedules:
        return estimator
    floats = driveable(estimator)
    unknown = sorted(set(schedules) - set(floats))
    if unknown:
        raise ValueError(
            f"drive: expected float fields of {type(estimator).__name__} "
            f"({', '.join(floats) or 'it has none'}), got {', '.join(unknown)}"
        )
    return replace(estimator, **{k: s.at(step) for k, s in schedules.items()})  # type: ignore[type-var]


def driveable(estimator: Estimator) -> list[str]:
    """The fields of an estimator that a schedule can drive."""
    names = [f.name for f in fields(estimator)]  # type: ignore[arg-type]
    return [name for name in names if isinstance(getattr(estimator, name), float)]


def _check_ends(schedule: Linear | Exponential | Cosine | Cyclic) -> None:
    check_finite("start", schedule.start)
    check_finite("end", schedule.end)


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name}: expected at least 1, got {value}")
