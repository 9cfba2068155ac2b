"""Discrete distributions of every kind and shape that the families must serve."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, OneHotCategorical

from acceptance import seeded
from reparam.distributions import PlackettLuce, Subset
from reparam.families import Family


def logits_of(*shape: int) -> Tensor:
    """Fixed logits of ordinary size."""
    return 1.3 * torch.randn(shape, generator=seeded(7), dtype=torch.float64)


CASES = {
    "bernoulli": Bernoulli(logits=logits_of(3)),
    "onehot": OneHotCategorical(logits=logits_of(2, 4)),
    "index": Categorical(logits=logits_of(2, 4)),
    "bernoullis": Independent(Bernoulli(logits=logits_of(2, 3)), 1),
    "onehots": Independent(OneHotCategorical(logits=logits_of(2, 2, 3)), 1),
    "indices": Independent(Categorical(logits=logits_of(2, 2, 3)), 1),
    "bernoulli-grid": Independent(Bernoulli(logits=logits_of(2, 2, 2)), 2),
    "onehot-grid": Independent(OneHotCategorical(logits=logits_of(2, 2, 1, 3)), 2),
    "nested": Independent(Independent(Bernoulli(logits=logits_of(2, 2, 2)), 1), 1),
    "subset": Subset(2, logits_of(2, 4)),
    "subsets": Independent(Subset(2, logits_of(2, 2, 3)), 1),
    "ranking": PlackettLuce(logits_of(2, 3)),
    "top-ranking": PlackettLuce(logits_of(2, 4), 2),
    "rankings": Independent(PlackettLuce(logits_of(2, 2, 2)), 1),
    "nothing-reinterpreted": Independent(Bernoulli(logits=logits_of(3)), 0),
}
every_case = pytest.mark.parametrize("name", CASES)
every_relaxable = pytest.mark.parametrize(
    "name", [name for name in CASES if name not in ("index", "indices")]
)


def set_logits(f: Family, logits: Tensor) -> None:
    """Give a family other logits, without torch's normalization of those it normalizes."""
    while hasattr(f, "base"):
        f.logits = logits
        f = f.base
    if hasattr(f, "q"):
        f.__init__(type(f.q)(k=f.q.k, logits=logits))
    else:
        f.logits = logits
