"""Train through randomness: every way to differentiate an expectation, under one interface."""

from reparam import baselines, distributions, functional, schedules
from reparam.core import Draw, Estimator, expect, sample
from reparam.estimators import (
    ESTIMATORS,
    Enumerate,
    GumbelSoftmax,
    Pathwise,
    Rloo,
    Score,
    StraightThrough,
    StraightThroughGumbelSoftmax,
)
from reparam.problems import PROBLEMS
from reparam.specs import estimator

__version__ = "0.1.0"
__all__ = [
    "ESTIMATORS",
    "PROBLEMS",
    "Draw",
    "Enumerate",
    "Estimator",
    "GumbelSoftmax",
    "Pathwise",
    "Rloo",
    "Score",
    "StraightThrough",
    "StraightThroughGumbelSoftmax",
    "baselines",
    "distributions",
    "estimator",
    "expect",
    "functional",
    "sample",
    "schedules",
]
