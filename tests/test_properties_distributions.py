"""What holds for every public distribution, at any parameters, shape and dtype."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Poisson

import reparam as rp
from acceptance import seeded
from distribution_cases import CASES
from reparam import distributions as R
from reparam import functional as F
from reparam.noise import Noise
from strategies import FULL_BATCHES, SEEDS

OF_LOGITS = {
    "Dirichlet": lambda z: R.Dirichlet(z.exp()),
    "HardConcrete": R.HardConcrete,
    "LogDirichlet": lambda z: R.LogDirichlet(z.exp()),
    "OneHotCategorical": lambda z: R.OneHotCategorical(logits=z),
    "PerturbAndMap": lambda z: R.PerturbAndMap(z, F.hard_argmax),
    "Permutation": lambda z: R.Permutation(z.unsqueeze(-1) * z.unsqueeze(-2)),
    "PlackettLuce": R.PlackettLuce,
    "RelaxedBernoulli": lambda z: R.RelaxedBernoulli(0.5, logits=z),
    "RelaxedBernoulliStraightThrough": lambda z: R.RelaxedBernoulliStraightThrough(0.5, logits=z),
    "RelaxedCount": lambda z: R.RelaxedCount(0.5, Poisson(z.exp()), bounds=(0, 30)),
    "RelaxedCountStraightThrough": lambda z: R.RelaxedCountStraightThrough(
        0.5, Poisson(z.exp()), bounds=(0, 30)
    ),
    "RelaxedOneHotCategorical": lambda z: R.RelaxedOneHotCategorical(0.5, logits=z),
    "RelaxedOneHotCategoricalStraightThrough": lambda z: R.RelaxedOneHotCategoricalStraightThrough(
        0.5, logits=z
    ),
    "Subset": lambda z: R.Subset(2, z),
    "VonMisesFisher": lambda z: R.VonMisesFisher(
        torch.nn.functional.normalize(z, dim=-1), z.exp().sum(-1)
    ),
}
"""Of logits `(*batch, K)`, K >= 2: the classes are an event, or more of the batch."""


def of_numbers(case):
    """The same of a univariate distribution: each parameter is moved by a part of itself."""

    def build(z):
        moved = (torch.tensor(p, dtype=z.dtype) * (0.1 * z.tanh()).exp() for p in case.params)
        return case.build(*moved)

    return build


BUILT = {**OF_LOGITS, **{name: of_numbers(case) for name, case in CASES.items()}}


def test_every_distribution_is_here():
    """A new name of `distributions` brings a property."""
    assert {type(build(torch.ones(2))).__name__ for build in BUILT.values()} == set(R.__all__)


@pytest.mark.parametrize("name", BUILT)
@given(
    batch=FULL_BATCHES,
    classes=st.integers(2, 4),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seeds=st.tuples(st.integers(0, 999), SEEDS),
)
@settings(max_examples=8)
def test_a_row_is_a_distribution_of_its_own(name, batch, classes, dtype, seeds):
    """Points have the parameters' dtype; the density of a row is that of its parameters alone."""
    z = torch.randn(2, *batch, classes, generator=seeded(seeds[0])).to(dtype)
    q, alone = BUILT[name](z), [BUILT[name](row) for row in z]
    points = rp.families.sample(q, 3, Noise(key=seeds[1]))
    assert points.dtype == dtype
    assert points.shape == (3, *q.batch_shape, *q.event_shape)
    assert q.support.check(points).all()
    try:
        density = q.log_prob(points)
    except NotImplementedError:
        return
    assert density.dtype == dtype
    assert density.shape == (3, *q.batch_shape)
    per_row = [points[:, i] for i in range(2)]  # indexing keeps what a relaxed sample remembers
    rows = [one.log_prob(x) for one, x in zip(alone, per_row, strict=True)]
    torch.testing.assert_close(density, torch.stack(rows, 1))
    assert not density.isnan().any()
