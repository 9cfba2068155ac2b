"""Write docs/estimators/, one page per estimator, and the tables of docs/choose.md.

python docs/generate.py
"""

import inspect
from pathlib import Path

import choosing
import torch

from reparam import ESTIMATORS, PROBLEMS, Estimator
from reparam.estimators import Relax
from reparam.models import surrogate
from reparam.problems import Problem
from reparam.problems.moments import Moments, exact_moments, sampled_moments
from reparam.problems.traces import noise_event
from reparam.report.listing import claims, evaluations, fits, instance, serves, spec

PAGES = Path(__file__).parent / "estimators"
DRAWS = 20_000


def page(name: str, cls: type[Estimator]) -> str:
    """The whole page."""
    rows = table(cls)
    return head(name, cls) + (f"\n## On the reference problems\n\n{NOTE}\n\n{rows}" if rows else "")


def head(name: str, cls: type[Estimator]) -> str:
    """What the class says of itself."""
    definition, reference, *details, when, example = (inspect.getdoc(cls) or "").split("\n\n")
    detail = "\n\n".join(details)
    return f"""# {cls.__name__}

{definition}

- spec: `{spec(name, cls)}`
- claims: {claims(cls)}
- evaluations of the cost for n samples: {evaluations(instance(cls))}
- serves: {serves(instance(cls))}

Reference: {reference}

## When

{when}

## How

{detail}

```pycon
{example}
```
"""


def index() -> str:
    """The page that leads to the others."""
    rows = []
    for name, cls in ESTIMATORS.items():
        bias, cost, *_ = claims(cls).split(" | ")
        link, own = f"[{cls.__name__}]({name}.md)", instance(cls)
        rows.append(f"| {link} | {bias} | {cost} | {evaluations(own)} | {serves(own)} |")
    return INDEX + "\n".join(rows) + "\n\n</div>\n"


INDEX = """---
hide:
  - toc
---

# Estimators

Each page says what the estimator computes, when to use it, and its exact bias and variance on the
reference problems. [Choosing](../choose.md) compares them.

<div class="words" markdown>

| estimator | bias | cost | evaluations for n samples | serves |
|---|---|---|---|---|
"""

NOTE = (
    f"One draw (n = 1, or 2 where samples are compared), float64, all parameters and both rows of "
    f"the problem together. Exact by enumeration or quadrature; otherwise, with ±, from {DRAWS:,} "
    "draws. Learned control variates are as they start, untrained. Bias is the norm of the mean's "
    "error, beside the norm of the gradient."
)


def table(cls: type[Estimator]) -> str:
    """Bias and variance on every problem that the estimator serves; empty if it serves none."""
    lines = []
    for name, make in PROBLEMS.items():
        problem = make()
        if not fits(instance(cls), problem.q()):
            continue
        moments = measured(cls, problem)
        truth = torch.autograd.grad(problem.exact().sum(), list(problem.params.values()))
        size = sum(g.square().sum() for g in truth) ** 0.5
        bias = "-" if cls.multisample else f"{moments.bias:.2g}" if moments.bias > 1e-8 else "0"
        bias = bias if moments.variance_error == 0 or not cls.unbiased else "0"
        error = f" ± {moments.variance_error:.1g}" if moments.variance_error else ""
        # The quadrature over a relaxation's noise is good to three digits.
        digits = 3 if cls.anneals or error else 6
        lines.append(f"| {name} | {size:.4f} | {bias} | {moments.variance:.{digits}g}{error} |")
    header = ["| problem | gradient | bias | variance |", "|---|---|---|---|"]
    return "\n".join([*header, *lines]) + "\n" if lines else ""


def measured(cls: type[Estimator], problem: Problem) -> Moments:
    """Exact moments where they can be had, else sampled ones."""
    q = problem.q()
    if cls is Relax:
        own = noise_event(q)
        estimator: Estimator = Relax(network(own.numel(), len(own)))
    else:
        estimator = instance(cls)
    n = 1
    try:
        estimator.draw(q, n)
    except ValueError:
        n = 2
    generator = torch.Generator().manual_seed(0)
    found = exact_moments(estimator, problem, n)
    return found or sampled_moments(estimator, problem, n, DRAWS, generator)


def network(numbers: int, dims: int) -> torch.nn.Module:
    """An untrained surrogate for RELAX that takes an event of so many numbers and dimensions."""
    torch.manual_seed(0)
    flatten = torch.nn.Flatten(-dims) if dims else torch.nn.Unflatten(-1, (-1, 1))
    layers = list(surrogate(numbers).double())[1:]
    return torch.nn.Sequential(flatten, *layers)


def main() -> None:
    """Write all pages and their index."""
    torch.set_num_threads(1)
    PAGES.mkdir(exist_ok=True)
    for name, cls in ESTIMATORS.items():
        (PAGES / f"{name}.md").write_text(page(name, cls), encoding="utf-8")
        print(name, flush=True)  # noqa: T201
    (PAGES / "index.md").write_text(index(), encoding="utf-8")
    choosing.write()


if __name__ == "__main__":
    main()
