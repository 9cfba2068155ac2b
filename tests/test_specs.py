"""Spec strings: every estimator by name, its fields by type, and every misspelling."""

import re
from dataclasses import fields

import pytest

import reparam as rp
from reparam.baselines import MovingAverage
from reparam.schedules import Constant, Cosine, Cyclic, Exponential, Linear
from reparam.specs import schedule

WRITABLE = [name for name, cls in rp.ESTIMATORS.items() if cls is not rp.Relax]


def test_a_module_cannot_be_written():
    """RELAX's network has no spec: the message says what is missing."""
    with pytest.raises(ValueError, match=r"expected values for surrogate=\.\.\. after 'relax'"):
        rp.estimator("relax")


def test_truth_values():
    """A boolean field is written true or false."""
    assert rp.estimator("unordered-set:k=3,baseline=false") == rp.UnorderedSet(3, baseline=False)
    with pytest.raises(
        ValueError, match=r"expected a value of type bool \(true or false\), got 'no'"
    ):
        rp.estimator("unordered-set:baseline=no")


@pytest.mark.parametrize("name", WRITABLE)
def test_every_name_makes_its_default_estimator(name):
    """Names are lower-case words joined by hyphens."""
    cls = rp.ESTIMATORS[name]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert type(rp.estimator(name)) is cls
    assert rp.estimator(name) == cls()


@pytest.mark.parametrize("name", WRITABLE)
def test_every_number_can_be_set(name):
    """Each field of a number's type takes that number from a spec."""
    for field in fields(rp.ESTIMATORS[name]):
        if type(field.default) in (int, float):
            value = type(field.default)(3)
            made = rp.estimator(f"{name}:{field.name}={value}")
            assert getattr(made, field.name) == value
            assert type(getattr(made, field.name)) is type(field.default)


@pytest.mark.parametrize(
    "spec",
    ["gumbel-softmax:tau=0.5", " gumbel-softmax: tau = 0.5 ", "gumbel-softmax:tau=0.5,"],
)
def test_blanks_and_trailing_commas_do_not_matter(spec):
    """Nor does the form of the number."""
    assert rp.estimator(spec) == rp.GumbelSoftmax(0.5)
    assert rp.estimator("gumbel-softmax:tau=5e-1") == rp.GumbelSoftmax(0.5)


def test_a_baseline_is_made_from_its_name():
    """Afresh for each spec."""
    first, second = (rp.estimator("score:baseline=moving-average") for _ in range(2))
    assert isinstance(first.baseline, MovingAverage)
    assert first.baseline is not second.baseline


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rlo", "got 'rlo'; did you mean 'rloo'?"),
        ("", "estimator: expected one of pathwise, gumbel-softmax"),
        ("zzz", "got 'zzz'"),
        ("rloo:tau=1", "field of 'rloo': expected one of (it has none); got 'tau'"),
        ("gumbel-softmax:ta=1", "expected one of tau; got 'ta'; did you mean 'tau'?"),
        ("gumbel-softmax:tau", "expected field=value after 'gumbel-softmax', got 'tau'"),
        (
            "gumbel-softmax:tau=warm",
            "tau of 'gumbel-softmax': expected a value of type float, got 'warm'",
        ),
        ("gumbel-softmax:tau=-1", "tau: expected a temperature >= 0"),
        ("gumbel-softmax:tau=nan", "tau: expected a temperature >= 0"),
        ("score:baseline=learned", "expected one of moving-average; got 'learned'"),
    ],
)
def test_wrong_specs_are_refused(spec, message):
    """With what was expected, what was given, and the nearest right word."""
    with pytest.raises(ValueError, match=re.escape(message)):
        rp.estimator(spec)


@pytest.mark.parametrize(
    ("spec", "made"),
    [
        ("0.3", Constant(0.3)),
        (" 1e-2 ", Constant(0.01)),
        ("constant:constant=2", Constant(2.0)),
        ("linear:start=1,end=0.5", Linear(1.0, 0.5, 100)),
        ("linear:start=1,end=0.5,steps=7", Linear(1.0, 0.5, 7)),
        ("cosine: start = 1, end = 0", Cosine(1.0, 0.0, 100)),
        ("cyclic:start=0,end=1", Cyclic(0.0, 1.0, 25)),
        ("cyclic:start=0,end=1,period=9,ramp=0.25", Cyclic(0.0, 1.0, 9, 0.25)),
        ("exponential:start=1,end=0.5,rate=0.1", Exponential(1.0, 0.5, 0.1)),
        ("exponential:start=1,end=0.5", Exponential.reaching(1.0, 0.5, 100)),
        ("exponential:start=1,end=0.5,every=9", Exponential.reaching(1.0, 0.5, 100, 9)),
    ],
)
def test_schedules_have_specs_too(spec, made):
    """What is omitted follows from the planned length of the run, here 100 steps."""
    got = schedule(spec, steps=100)
    assert got == made
    assert type(got) is type(made)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("liner:start=1", "got 'liner'; did you mean 'linear'?"),
        ("linear:start=1", "schedule: expected values for end=..."),
        ("linear:start=1,end=soon", "schedule: end of 'linear': expected a value of type float"),
        ("linear:start=1,end=2,stps=3", "got 'stps'; did you mean 'steps'?"),
        ("linear:start=1,end=2,steps=2.5", "expected a value of type int, got '2.5'"),
        ("linear:start=1,end=2,steps=0", "steps: expected at least 1, got 0"),
        ("exponential:start=0.5,end=1", "expected start >= end > 0"),
    ],
)
def test_wrong_schedule_specs_are_refused(spec, message):
    """As estimators' are."""
    with pytest.raises(ValueError, match=re.escape(message)):
        schedule(spec, steps=100)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedule("nan", 10), "expected a finite number, got nan"),
        (lambda: schedule("linear:start=0,end=nan", 10), "end: expected a finite number, got nan"),
        (
            lambda: schedule("cyclic:start=inf,end=1", 10),
            "start: expected a finite number, got inf",
        ),
        (lambda: rp.estimator("rebar:eta=nan"), "eta: expected a finite number, got nan"),
        (lambda: rp.estimator("rebar:tau=inf"), "tau: expected a finite number, got inf"),
        (lambda: rp.estimator("double-cv:alpha=inf"), "alpha: expected a finite number, got inf"),
        (lambda: rp.estimator("gumbel-softmax:tau=1,tau=2"), "expected tau once"),
    ],
)
def test_odd_specs_are_refused(make, message):
    """Not-a-number and a field given twice are refused."""
    with pytest.raises(ValueError, match=message):
        make()
