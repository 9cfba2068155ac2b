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


@pytest.fixture
def alone():
    """What other tests have left is not counted: some of it goes while this one runs."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def growth(estimator, steps, keep=lambda loss: None):
    """Tensors and bytes that are alive after these steps and were not after the first.

    keep: is given the loss of every step.
    """
    torch.manual_seed(0)
    model, monitor = Model(rp.estimator(estimator)), rp.Monitor()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    data = torch.rand(64, 64)
    for step in range(steps):
        loss, logits = model(data, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rp.nn.anneal(model)
        keep(loss)
        if step % 10 == 0:
            monitor.observe(step=step, loss=loss, logits=logits)
        if step == WARM:
            before = tensors(), resident()
    return tensors() - before[0], resident() - before[1]


@pytest.mark.skipif(not STATM.exists(), reason="needs /proc")
@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    "estimator",
    ["rloo", "rebar", "score:baseline=moving-average", "straight-through-gumbel-softmax", "imle"],
)
def test_memory_does_not_grow(estimator):
    """Neither tensors nor bytes, with control variates, keys, schedules and a monitor."""
    more, larger = growth(estimator, LONG)
    assert more == 0
    assert larger < MOST


@pytest.fixture
def others():
    """Tensors of other tests."""
    return [torch.zeros(1) for _ in range(100)]


@pytest.mark.skipif(not STATM.exists(), reason="needs /proc")
def test_a_leak_is_seen(others, alone):
    """Of one number a step; what other tests let go meanwhile does not hide it."""
    kept = []

    def keep(loss):
        kept.append(loss.detach())
        if len(kept) > WARM + 5:
            others.clear()

    assert growth("rloo", WARM + 20, keep)[0] == 19
