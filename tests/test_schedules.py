"""Schedules: their curves, their step, and the estimators they drive."""

import copy
import itertools
import math
import re

import pytest

import reparam as rp
from reparam.schedules import Constant, Cosine, Cyclic, Exponential, Linear, drive, driveable

SCHEDULES = {
    "constant": (Constant(0.3), lambda _: 0.3),
    "linear": (Linear(1.0, 0.5, 10), lambda s: 1 - 0.05 * min(s, 10)),
    "warm-up": (Linear(0.0, 1.0, 4), lambda s: min(s / 4, 1)),
    "exponential": (Exponential(1.0, 0.5, 0.1), lambda s: max(0.5, math.exp(-0.1 * s))),
    "held": (Exponential(1.0, 0.5, 0.1, 3), lambda s: max(0.5, math.exp(-0.1 * (s - s % 3)))),
    "cosine": (
        Cosine(1.0, 0.2, 8),
        lambda s: 0.2 + 0.4 * (1 + math.cos(math.pi * min(s / 8, 1))),
    ),
    "cyclic": (Cyclic(0.0, 1.0, 10, 0.4), lambda s: min(s % 10 / 4, 1)),
    "sawtooth": (Cyclic(0.0, 1.0, 5, 1.0), lambda s: s % 5 / 5),
}
every_schedule = pytest.mark.parametrize("name", SCHEDULES)


@every_schedule
def test_curves_are_their_formulas(name):
    """At every step of 30, as plain floats."""
    schedule, formula = SCHEDULES[name]
    for step in range(30):
        assert isinstance(schedule.at(step), float)
        assert schedule.at(step) == pytest.approx(formula(step), abs=1e-15)


@every_schedule
def test_a_schedule_counts_its_own_steps(name):
    """`value` follows `step()`, which returns it; `at` counts nothing."""
    schedule = copy.deepcopy(SCHEDULES[name][0])
    assert schedule.value == schedule.at(0)
    for step in range(1, 20):
        assert schedule.step() == schedule.value == schedule.at(step)


@every_schedule
def test_a_schedule_continues_from_a_checkpoint(name):
    """The state is the step; a copy continues where it was."""
    schedule, other = (copy.deepcopy(SCHEDULES[name][0]) for _ in range(2))
    for _ in range(7):
        schedule.step()
    other.load_state_dict(schedule.state_dict())
    assert schedule.state_dict() == {"step": 7}
    assert other.step() == schedule.step() == schedule.at(8)


@pytest.mark.parametrize("every", [1, 10, 7])
@pytest.mark.parametrize(("start", "end"), [(1.0, 0.5), (1.0, 1e-4), (3.0, 0.1), (0.5, 0.5)])
def test_reaching_arrives_within_the_steps_planned(start, end, every):
    """It falls, is at the end by the last check, and is not there at the check before."""
    schedule = Exponential.reaching(start, end, steps=101, every=every)
    values = [schedule.at(step) for step in range(101)]
    assert values[0] == start
    assert values[-1] == end
    assert all(b <= a for a, b in itertools.pairwise(values))
    if start > end:
        assert schedule.at(100 // every * every - 1) > end


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Linear(0, 1, 0), "steps: expected at least 1, got 0"),
        (lambda: Cosine(0, 1, -2), "steps: expected at least 1, got -2"),
        (lambda: Cyclic(0, 1, 0), "period: expected at least 1, got 0"),
        (lambda: Cyclic(0, 1, 5, 0.0), "ramp: expected a part of the period in (0, 1], got 0.0"),
        (lambda: Cyclic(0, 1, 5, 1.5), "ramp: expected a part of the period in (0, 1], got 1.5"),
        (lambda: Exponential(0.5, 1.0, 0.1), "expected start >= end > 0, got start=0.5, end=1.0"),
        (lambda: Exponential(1.0, 0.0, 0.1), "expected start >= end > 0, got start=1.0, end=0.0"),
        (lambda: Exponential(1.0, 0.5, -0.1), "expected rate >= 0, got -0.1"),
        (lambda: Exponential(1.0, 0.5, 0.1, 0), "every: expected at least 1, got 0"),
        (lambda: Exponential.reaching(0.5, 1.0, 10), "expected start >= end > 0"),
        (lambda: Exponential.reaching(1.0, 0.5, 0), "steps: expected at least 1, got 0"),
    ],
)
def test_wrong_schedules_are_refused(make, message):
    """With the field, and what was expected of it."""
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_driving_sets_the_named_fields():
    """On a new estimator; the old one stays."""
    estimator = rp.GumbelSoftmax(1.0)
    assert drive(estimator, 5, tau=Linear(1.0, 0.5, 10)) == rp.GumbelSoftmax(0.75)
    assert estimator == rp.GumbelSoftmax(1.0)
    assert drive(rp.Rloo(), 5) == rp.Rloo()


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (rp.GumbelSoftmax(), "float fields of GumbelSoftmax (tau), got eta"),
        (rp.Rloo(), "float fields of Rloo (it has none), got eta"),
        (rp.Score(), "float fields of Score (it has none), got eta"),
    ],
)
def test_driving_a_field_that_is_not_there_is_refused(estimator, message):
    """The message lists those that are."""
    with pytest.raises(ValueError, match=re.escape(message)):
        drive(estimator, 0, eta=Constant(1.0))


def test_driveable_fields_are_the_floats():
    """A tensor temperature and a baseline are not driven."""
    assert driveable(rp.GumbelSoftmax(0.5)) == ["tau"]
    assert driveable(rp.Score(rp.baselines.MovingAverage())) == []
