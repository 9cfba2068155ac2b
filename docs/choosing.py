"""docs/choose.md: which estimator has the smallest error at what cost, on every reference problem.

python docs/generate.py
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from reparam import ESTIMATORS, PROBLEMS, Estimator
from reparam.estimators import Relax
from reparam.problems import Problem
from reparam.problems.moments import exact_moments, sampled_moments
from reparam.report.listing import fits, instance

PAGE = Path(__file__).parent / "choose.md"
BUDGETS = (1, 4, 16, 64)
"""Evaluations of the cost for one gradient."""
TAUS = (0.1, 0.25, 0.5, 1.0, 2.0)
COUNTS = (2, 4, 16, 64)
"""Numbers of samples where they are compared with each other; else one sample tells of any."""
DRAWS = 20_000
"""Of one sample; of more, fewer."""
ROUNDING = 1e-10
CELL = 3
"""Estimators named at each budget."""


@dataclass(frozen=True)
class Measured:
    """An estimator with n samples on a problem, whose gradient has the norm `size`."""

    name: str
    estimator: Estimator
    evaluations: int
    bias: float
    variance: float
    size: float

    def error(self, budget: int) -> float:
        """Relative root mean square error of the mean of as many draws as can be paid for."""
        draws = budget // self.evaluations
        if not draws:
            return float("inf")
        error = (self.bias**2 + self.variance / draws) ** 0.5 / self.size
        return error if error > ROUNDING else 0.0

    @cached_property
    def label(self) -> str:
        """With the temperature; biased estimators in italics."""
        tau = f" τ={self.estimator.tau:g}" if self.estimator.anneals else ""
        return f"{self.name}{tau}" if self.estimator.unbiased else f"*{self.name}*{tau}"


def candidates() -> Iterator[tuple[str, Estimator]]:
    """All of one objective that need no training, at several temperatures if they have one."""
    for name, cls in ESTIMATORS.items():
        if cls.multisample or cls is Relax:
            continue
        made = instance(cls)
        for tau in TAUS if cls.anneals else (None,):
            yield name, made if tau is None else replace(made, tau=tau)


def measure(problem: Problem) -> list[Measured]:
    """All that serve the problem."""
    truth = torch.autograd.grad(problem.exact().sum(), list(problem.params.values()))
    size = sum(g.square().sum().item() for g in truth) ** 0.5
    return [
        _measured(name, estimator, problem, n, size)
        for name, estimator in candidates()
        if fits(estimator, problem.q())
        for n in counts(estimator, problem)
    ]


def counts(estimator: Estimator, problem: Problem) -> Sequence[int]:
    """One sample, unless that is refused."""
    try:
        estimator.draw(problem.q(), 1)
    except ValueError:
        return COUNTS
    return (1,)


def _measured(name: str, estimator: Estimator, problem: Problem, n: int, size: float) -> Measured:
    evaluations = len(estimator.draw(problem.q(), n).points)
    found = exact_moments(estimator, problem, n) if n <= COUNTS[0] else None
    if found is None:
        generator = torch.Generator().manual_seed(0)
        found = sampled_moments(estimator, problem, n, max(1000, DRAWS // n), generator)
    bias = 0.0 if estimator.unbiased else found.bias
    return Measured(name, estimator, evaluations, bias, found.variance, size)


def best(found: Sequence[Measured], budget: int) -> str:
    """The least errors at a budget, one entry for each estimator."""
    ranked = sorted(found, key=lambda m: (m.error(budget), m.evaluations))
    first: dict[str, Measured] = {}
    for m in ranked:
        if m.error(budget) < float("inf"):
            first.setdefault(m.name, m)
    chosen = list(first.values())[:CELL]
    return "<br>".join(f"{m.error(budget):.2g} {m.label}" for m in chosen) or "-"


def ranking(problems: dict[str, list[Measured]], black_box: bool) -> str:
    """The best of each problem at each budget."""
    rows = [f"| problem | evaluations: {' | '.join(map(str, BUDGETS))} |"]
    rows.append("|---" * (1 + len(BUDGETS)) + "|")
    for name, found in problems.items():
        taken = [m for m in found if m.estimator.black_box or not black_box]
        if taken:
            rows.append(f"| {name} | {' | '.join(best(taken, b) for b in BUDGETS)} |")
    return "\n".join(rows)


def temperatures(problems: dict[str, list[Measured]]) -> str:
    """The temperature of least error, by the number of samples."""
    averaged = (1, 10, 100, 1000)
    rows = [f"| estimator, problem | {' | '.join(f'n = {n}' for n in averaged)} |"]
    rows.append("|---" * (1 + len(averaged)) + "|")
    for name in ("gumbel-softmax", "straight-through-gumbel-softmax"):
        for problem, found in problems.items():
            own = [m for m in found if m.name == name]
            if own:
                taus = [min(own, key=lambda m: m.error(n)).estimator.tau for n in averaged]
                rows.append(f"| {name}, {problem} | {' | '.join(f'{t:g}' for t in taus)} |")
    return "\n".join(rows)


def everything(found: Sequence[Measured]) -> str:
    """One problem in full."""
    rows = ["| estimator | evaluations | bias | variance | error at 16 |", "|---|---|---|---|---|"]
    for m in sorted(found, key=lambda m: m.error(16)):
        bias = f"{m.bias / m.size:.2g}" if m.bias / m.size > ROUNDING else "0"
        error = f"{m.error(16):.3g}" if m.error(16) < float("inf") else "-"
        relative = f"{m.variance / m.size**2:.3g}" if m.variance > ROUNDING**2 else "0"
        rows.append(f"| {m.label} | {m.evaluations} | {bias} | {relative} | {error} |")
    return "\n".join(rows)


def write() -> None:
    """The page: its text stays, what stands between marks is measured anew."""
    problems = {name: measure(make()) for name, make in PROBLEMS.items()}
    details = [
        f"### {name}\n\n{PROBLEMS[name]().about[0].upper()}{PROBLEMS[name]().about[1:]}.\n\n"
        + everything(found)
        for name, found in problems.items()
    ]
    parts = {
        "any cost": ranking(problems, black_box=True),
        "differentiable cost": ranking(problems, black_box=False),
        "temperatures": temperatures(problems),
        "everything": "\n\n".join(details),
    }
    text = PAGE.read_text(encoding="utf-8")
    for name, table in parts.items():
        text = between(text, name, table)
    PAGE.write_text(text, encoding="utf-8")


def between(text: str, name: str, table: str) -> str:
    """The text with another table between the marks of a name."""
    start, end = f"<!-- measured: {name} -->\n", "\n<!-- end -->"
    before, rest = text.split(start)
    return f"{before}{start}\n{table}\n{end}{rest.split(end, 1)[1]}"
