"""Every functional operation, called by the annotations of its parameters; every distribution.

New names are found here by themselves, or refused until they are told how to be built.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Poisson
from torch.utils._pytree import tree_leaves

from distribution_cases import CASES
from reparam import distributions, functional
from reparam.noise import Noise

OPERATIONS = {name: getattr(functional, name) for name in functional.__all__}
VALUES = {bool: True, int: 2, float | Tensor: 0.7}

zeros = torch.zeros(3)
OTHERS = [
    distributions.Dirichlet(zeros.exp()),
    distributions.HardConcrete(zeros[0]),
    distributions.LogDirichlet(zeros.exp()),
    distributions.OneHotCategorical(logits=zeros),
    distributions.PerturbAndMap(zeros, functional.hard_argmax),
    distributions.Permutation(torch.zeros(3, 3)),
    distributions.PlackettLuce(zeros),
    distributions.RelaxedBernoulli(0.5, logits=zeros[0]),
    distributions.RelaxedBernoulliStraightThrough(0.5, logits=zeros[0]),
    distributions.RelaxedCount(0.5, Poisson(zeros[0].exp())),
    distributions.RelaxedCountStraightThrough(0.5, Poisson(zeros[0].exp())),
    distributions.RelaxedOneHotCategorical(0.5, logits=zeros),
    distributions.RelaxedOneHotCategoricalStraightThrough(0.5, logits=zeros),
    distributions.Subset(2, zeros),
    distributions.VonMisesFisher(torch.eye(3)[0], torch.tensor(2.0)),
]


def every_distribution() -> dict[str, Distribution]:
    """One of each, by the name of its type."""
    found = [case.build(*case.leaves()) for case in CASES.values()] + OTHERS
    named = {type(q).__name__: q for q in found}
    missing = set(distributions.__all__) - set(named)
    assert not missing, f"tell distribution_cases or sampler_cases how to build {missing}"
    return {name: named[name] for name in distributions.__all__}


def draws(operation: Callable[..., Any]) -> bool:
    """Whether an operation draws noise, as its parameters tell."""
    return bool({"generator", "noise"} & set(inspect.signature(operation).parameters))


def bound(operation: Callable[..., Any], **source: Any) -> Callable[[Tensor], list[Tensor]]:
    """Of a square matrix, what an operation returns, from `generator=` or `key=` if it draws."""
    arguments: dict[str, Any] = {}
    matrices = []
    for name, parameter in inspect.signature(operation).parameters.items():
        if name in source:
            arguments[name] = source[name]
        elif name != "noise" and parameter.default is parameter.empty:
            kind = parameter.annotation
            matrices += [name] if kind is Tensor else []
            arguments |= {} if kind is Tensor else {name: VALUES[kind]}

    noisy = "noise" in inspect.signature(operation).parameters

    def call(matrix: Tensor) -> list[Tensor]:
        noise = {"noise": Noise(**source)} if noisy else {}
        return tree_leaves(operation(**arguments, **noise, **dict.fromkeys(matrices, matrix)))

    return call


def outcome(operation: Callable[..., Any], matrix: Tensor, **source: Any) -> list[Tensor]:
    """The same at once."""
    return bound(operation, **source)(matrix)
