"""Spec strings: "gumbel-softmax:tau=0.5" names an estimator (or schedule) and its fields."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from functools import partial
from inspect import signature
from typing import Any

from reparam import schedules
from reparam.baselines import BASELINES, Baseline
from reparam.core import Estimator
from reparam.estimators import ESTIMATORS
from reparam.schedules import Schedule

SCHEDULES: dict[str, type[Schedule]] = {
    "constant": schedules.Constant,
    "linear": schedules.Linear,
    "exponential": schedules.Exponential,
    "cosine": schedules.Cosine,
    "cyclic": schedules.Cyclic,
}


def estimator(spec: str) -> Estimator:
    """The estimator that a spec names: `name` or `name:field=value,field=value`.

    >>> estimator("gumbel-softmax:tau=0.5")
    GumbelSoftmax(tau=0.5)
    """
    name, values = split("estimator", spec, ESTIMATORS)
    cls = ESTIMATORS[name]
    made: Estimator = _filled("estimator", name, cls, _parsers(cls), values)
    return made


def schedule(spec: str, steps: int) -> Schedule:
    """The schedule that a spec names: a number, or `name:field=value,...`.

    steps: the planned length of the run, which an omitted `steps` or `rate` is derived from; an
        omitted `period` is a quarter of it.

    >>> schedule("exponential:start=1,end=0.5", steps=1001).at(1000)
    0.5
    >>> schedule("0.3", steps=10)
    Constant(constant=0.3)
    """
    number = _number(spec)
    if number is not None:
        return schedules.Constant(number)
    name, values = split("schedule", spec, SCHEDULES)
    cls = SCHEDULES[name]
    planned = {"steps": steps, "period": max(1, steps // 4)}
    accepted = _parsers(cls)
    make: Callable[..., Schedule]
    if name == "exponential" and "rate" not in values:
        make = partial(schedules.Exponential.reaching, steps=steps)
    else:
        make = partial(cls, **{k: v for k, v in planned.items() if k in accepted})
    made: Schedule = _filled("schedule", name, make, accepted, values)
    return made


def _number(spec: str) -> float | None:
    try:
        return float(spec)
    except ValueError:
        return None


def split(kind: str, spec: str, known: Iterable[str]) -> tuple[str, dict[str, str]]:
    """A spec's name, checked against the known ones, and its assignments as they are written."""
    name, _, rest = spec.strip().partition(":")
    if name not in known:
        raise ValueError(f"{kind}: {_unknown(name, known)}")
    values: dict[str, str] = {}
    for assignment in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = (part.strip() for part in assignment.partition("="))
        if not equals:
            raise ValueError(f"{kind}: expected field=value after {name!r}, got {assignment!r}")
        if key in values:
            raise ValueError(f"{kind}: expected {key} once after {name!r}, got it twice")
        values[key] = value
    return name, values


Parser = Callable[[str], Any]


def _parsers(cls: type[Any]) -> dict[str, Parser]:
    """How to read each field of a dataclass: as its default's type, or else as its own."""
    written = [f for f in fields(cls) if f.init]
    return {f.name: _parser(f.type if f.default is MISSING else f.default) for f in written}


def _parser(example: Any) -> Parser:
    if example is None:  # a field that is empty by default holds a baseline
        return _baseline
    if example is bool or isinstance(example, bool):
        return _truth
    return example if isinstance(example, type) else type(example)


def _truth(value: str) -> bool:
    """true or false."""
    return {"true": True, "false": False}[value.lower()]


def _baseline(name: str) -> Baseline:
    if name not in BASELINES:
        raise ValueError(_unknown(name, BASELINES))
    return BASELINES[name]()


def _filled(
    kind: str,
    name: str,
    make: Callable[..., Any],
    accepted: Mapping[str, Parser],
    values: Mapping[str, str],
) -> Any:
    parsed = {}
    for key, value in values.items():
        if key not in accepted:
            raise ValueError(f"{kind}: field of {name!r}: {_unknown(key, accepted)}")
        parsed[key] = _read(f"{kind}: {key} of {name!r}", accepted[key], value)
    try:
        return make(**parsed)
    except TypeError:
        needed = [p.name for p in signature(make).parameters.values() if p.default is p.empty]
        absent = ", ".join(f"{key}=..." for key in needed if key not in parsed)
        raise ValueError(f"{kind}: expected values for {absent} after {name!r}") from None


def _read(what: str, parser: Parser, value: str) -> Any:
    try:
        return parser(value)
    except (KeyError, ValueError, TypeError) as error:
        if parser is _baseline:
            raise ValueError(f"{what}: {error}") from None
        raise ValueError(
            f"{what}: expected a value of type {_name(parser)}, got {value!r}"
        ) from None


def _name(parser: Parser) -> str:
    return "bool (true or false)" if parser is _truth else getattr(parser, "__name__", str(parser))


def _unknown(given: str, known: Iterable[str]) -> str:
    near = get_close_matches(given, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"expected one of {', '.join(known) or '(it has none)'}; got {given!r}{hint}"
