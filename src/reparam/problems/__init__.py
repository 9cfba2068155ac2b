"""Reference problems: a distribution, a cost, and the exact answer."""

from reparam.problems.problem import Problem
from reparam.problems.reference import PROBLEMS

__all__ = ["PROBLEMS", "Problem"]
