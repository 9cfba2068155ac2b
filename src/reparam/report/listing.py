"""What `reparam list` says, read off the estimators themselves."""

import inspect
from dataclasses import MISSING, fields

import torch
from rich.console import Group
from rich.markup import escape
from rich.padding import Padding
from torch import nn
from torch.distributions import (
    Bernoulli,
    Binomial,
    Distribution,
    Exponential,
    NegativeBinomial,
    Normal,
    OneHotCategorical,
    Poisson,
)

from reparam.core import Estimator
from reparam.distributions import Permutation, PerturbAndMap, PlackettLuce, Subset
from reparam.estimators import ESTIMATORS, Relax
from reparam.functional import hard_argmax

KINDS: dict[str, tuple[Distribution, ...]] = {
    "Bernoulli": (Bernoulli(logits=torch.zeros(1)),),
    "categorical": (OneHotCategorical(logits=torch.zeros(1, 8)),),
    "subsets, rankings and permutations": (
        Subset(2, torch.zeros(1, 4)),
        PlackettLuce(torch.zeros(1, 3)),
        Permutation(torch.zeros(1, 2, 2)),
    ),
    "counts": (
        Poisson(torch.ones(1)),
        Binomial(4, logits=torch.zeros(1)),
        NegativeBinomial(torch.ones(1), logits=torch.zeros(1)),
    ),
    "continuous": (Normal(torch.zeros(1), 1.0), Exponential(torch.ones(1))),
    "perturb-and-MAP": (PerturbAndMap(torch.zeros(1, 2), hard_argmax),),
}


def listing() -> Group:
    """Each estimator's spec, claims, cost, families, definition and reference."""
    return Group(*(entry(name, cls) for name, cls in ESTIMATORS.items()))


def entry(name: str, cls: type[Estimator]) -> Group:
    """One estimator."""
    estimator = instance(cls)
    definition, reference = map(escape, summary(cls))
    facts = " | ".join([claims(cls), f"{evaluations(estimator)} costs a draw", serves(estimator)])
    lines = (facts, definition, f"[dim]{reference}[/dim]")
    body = Group(*(Padding(line, (0, 0, 0, 2)) for line in lines))
    return Group(f"[bold]{escape(spec(name, cls))}[/bold]", Padding(body, (0, 0, 1, 0)))


def claims(cls: type[Estimator]) -> str:
    """Bias, the kind of cost, and what is estimated."""
    bias = "exact" if cls.exact else "unbiased" if cls.unbiased else "biased"
    cost = "any cost" if cls.black_box else "differentiable cost"
    return f"{bias} | {cost}" + (" | multi-sample bound" if cls.multisample else "")


def evaluations(estimator: Estimator) -> str:
    """How many times the cost is evaluated for n samples, found by drawing."""
    q = next(q for kinds in KINDS.values() for q in reversed(kinds) if fits(estimator, q))
    two, four = (len(estimator.draw(q, n).points) for n in (2, 4))
    slope, constant = (four - two) // 2, 2 * two - four
    if slope == 0:
        return "as many as outcomes" if constant > 1 else "1"
    per = "n" if slope == 1 else f"{slope}n"
    return per if constant == 0 else f"{constant} + {per}"


def serves(estimator: Estimator) -> str:
    """The kinds of distribution that the estimator takes, found by trying."""
    kinds = []
    for kind, members in KINDS.items():
        taken = [type(q).__name__ for q in members if fits(estimator, q)]
        kinds += [kind] if len(taken) == len(members) else taken
    return ", ".join(kinds)


def fits(estimator: Estimator, q: Distribution) -> bool:
    """Whether the estimator takes q."""
    try:
        estimator.draw(q, 2, generator=torch.Generator().manual_seed(0))
    except TypeError:
        return False
    return True


def instance(cls: type[Estimator]) -> Estimator:
    """An estimator by its defaults."""
    return Relax(nn.Identity()) if cls is Relax else cls()


def summary(cls: type[Estimator]) -> tuple[str, str]:
    """The first two paragraphs of an estimator's docstring: what it is, and who published it."""
    definition, reference, *_ = (inspect.getdoc(cls) or "").split("\n\n")
    return " ".join(definition.split()), " ".join(reference.split())


def spec(name: str, cls: type[Estimator]) -> str:
    """The spec string with its defaults; a module has none that can be written."""
    defaults = {f.name: f.default for f in fields(cls) if f.init}  # type: ignore[arg-type]
    values = [f"{k}={v}" for k, v in defaults.items() if v is not None and v is not MISSING]
    return name + (":" + ",".join(values) if values else "")
