"""Long runs hold what short ones hold: nothing is kept from step to step."""

import gc
import os
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributions import Independent, OneHotCategorical

import reparam as rp

STATM = Path("/proc/self/statm")
WARM, LONG = 100, 600
MOST = 3 * 2**20
"""Bytes of growth that an allocator may take for itself; a leak of one code a step is 12 MB."""


class Model(nn.Module):
    """Pixels through codes of a categorical, with a router and a gate on the way."""

    def __init__(self, estimator):
        super().__init__()
        self.estimator = estimator
        self.learned = nn.ModuleDict(estimator.modules())
        self.encoder = rp.nn.L0Linear(64, 80)
        self.router = rp.nn.TopKRouter(64, 4, 2, "straight-through-gumbel-softmax", 0.7)
        self.decoder = nn.Linear(80, 64)

    def forward(self, x, step):
        """The loss, with what a monitor looks at."""
        logits = self.encoder(x * (1 + self.router(x).dense().sum(-1, keepdim=True)))
        q = OneHotCategorical(logits=logits.unflatten(-1, (8, 10)))
        draw = self.estimator.draw(Independent(q, 1), 2, key=rp.fold_in(0, step))
        loss = draw.combine((self.decoder(draw.points.flatten(-2)) - x).square().sum(-1)).mean()
        return loss + 0.01 * self.encoder.l0(), q.logits


def resident():
    """Bytes of memory that the process holds, after a collection."""
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def tensors():
    """How many tensors are alive."""
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


@pytest.mark.skipif(not STATM.exists(), reason="needs /proc")
@pytest.mark.parametrize(
    "estimator",
    ["rloo", "rebar", "score:baseline=moving-average", "straight-through-gumbel-softmax", "imle"],
)
def test_memory_does_not_grow(estimator):
    """Neither tensors nor bytes, with control variates, keys, schedules and a monitor."""
    torch.manual_seed(0)
    model, monitor = Model(rp.estimator(estimator)), rp.Monitor()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    data = torch.rand(64, 64)
    for step in range(LONG):
        loss, logits = model(data, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rp.nn.anneal(model)
        if step % 10 == 0:
            monitor.observe(step=step, loss=loss, logits=logits)
        if step == WARM:
            before = tensors(), resident()
    assert tensors() == before[0]
    assert resident() - before[1] < MOST
