"""One of each module of `rp.nn`, with an input for it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import reparam as rp
from acceptance import seeded
from reparam.schedules import Linear


@dataclass(frozen=True)
class Case:
    """build: the module, which draws its parameters. shape: of its input, or None without one."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...] | None
    temperatures: int = 0

    def module(self, seed: int = 0) -> nn.Module:
        """The module with parameters of this seed, of moderate size."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = self.build()
            for p in module.parameters():
                nn.init.normal_(p)
        return module

    def inputs(self, seed: int = 1, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
        """What its forward takes."""
        if self.shape is None:
            return ()
        return (torch.randn(self.shape, generator=seeded(seed)).to(dtype),)


def falling() -> Linear:
    """A schedule from 1 to .5 in 4 steps."""
    return Linear(1.0, 0.5, steps=4)


CASES = {
    "gate": Case(lambda: rp.nn.HardConcreteGate(40), None),
    "L0Linear": Case(lambda: rp.nn.L0Linear(40, 3), (2, 40)),
    "L0Conv2d": Case(lambda: rp.nn.L0Conv2d(2, 30, 3, padding=1), (2, 2, 5, 5)),
    "selector": Case(lambda: rp.nn.ConcreteSelector(20, 4, falling()), (3, 20), 1),
    "permutation": Case(lambda: rp.nn.SinkhornPermutation(falling()), (3, 5, 5), 1),
    "router": Case(lambda: rp.nn.TopKRouter(6, 8, 2), (3, 7, 6)),
    "router, straight-through": Case(
        lambda: rp.nn.TopKRouter(6, 8, 2, "straight-through-gumbel-softmax", falling()),
        (3, 7, 6),
        1,
    ),
    "router, score": Case(lambda: rp.nn.TopKRouter(6, 8, 1, "score"), (3, 7, 6)),
    "categorical": Case(rp.nn.StochasticCategorical, (3, 20)),
    "categorical, blocks": Case(
        lambda: rp.nn.StochasticCategorical("gumbel-softmax", 5, falling()), (3, 20), 1
    ),
    "categorical, ReinMax": Case(lambda: rp.nn.StochasticCategorical(rp.ReinMax()), (3, 20)),
}
