"""Spec strings: "gumbel-softmax:tau=0.5" names an estimator and its hyper-parameters."""

from collections.abc import Iterable
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from reparam.baselines import BASELINES
from reparam.core import Estimator
from reparam.estimators import ESTIMATORS


def estimator(spec: str) -> Estimator:
    """The estimator that a spec names: `name` or `name:field=value,field=value`.

    >>> estimator("gumbel-softmax:tau=0.5")
    GumbelSoftmax(tau=0.5)
    """
    name, _, rest = spec.strip().partition(":")
    if name not in ESTIMATORS:
        raise ValueError(f"estimator: {_unknown(name, ESTIMATORS)}")
    cls = ESTIMATORS[name]
    accepted = {f.name: f.default for f in fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for assignment in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = (part.strip() for part in assignment.partition("="))
        if not equals:
            raise ValueError(f"estimator: expected field=value after {name!r}, got {assignment!r}")
        if key not in accepted:
            raise ValueError(f"estimator: field of {name!r}: {_unknown(key, accepted)}")
        values[key] = _parsed(name, key, value, accepted[key])
    return cls(**values)


def _parsed(name: str, key: str, value: str, default: Any) -> Any:
    """A value of the type of the field's default; a default of None stands for a baseline."""
    if default is None:
        if value not in BASELINES:
            raise ValueError(f"estimator: {key} of {name!r}: {_unknown(value, BASELINES)}")
        return BASELINES[value]()
    try:
        return type(default)(value)
    except ValueError:
        raise ValueError(
            f"estimator: {key} of {name!r}: expected {_article(type(default).__name__)}, "
            f"got {value!r}; for example {key}={default}"
        ) from None


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _unknown(given: str, known: Iterable[str]) -> str:
    near = get_close_matches(given, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"expected one of {', '.join(known) or '(it has none)'}; got {given!r}{hint}"
