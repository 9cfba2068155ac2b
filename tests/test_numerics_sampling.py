"""NUMERICS, "Sampling": the law in every dtype and to the tail, eager and compiled; sources."""

import pytest
import torch
from torch import Tensor
from torch.distributions import OneHotCategorical

import reparam as rp
from acceptance import assert_counts, needs_compiler, seeded
from reparam.distributions import (
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    RelaxedOneHotCategoricalStraightThrough,
)
from reparam.functional import gumbel_max, gumbel_softmax, gumbel_topk
from reparam.noise import Noise
from sampler_cases import OPERATIONS, bound, draws, every_distribution, outcome

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
every_operation = pytest.mark.parametrize("name", OPERATIONS)
matrix = torch.randn(4, 4, generator=seeded(0))


def relaxed(kind):
    """The winners of a relaxed distribution."""
    return lambda logits, g: kind(0.5, logits=logits).rsample((), Noise(g)).argmax(-1)


def of_estimator(estimator):
    """The winners of an estimator's points."""
    return lambda logits, g: (
        estimator.draw(OneHotCategorical(logits=logits), 2, generator=g).points[0].argmax(-1)
    )


WINNERS = {
    "gumbel_softmax": lambda x, g: gumbel_softmax(x, 0.5, generator=g).argmax(-1),
    "gumbel_softmax hard": lambda x, g: gumbel_softmax(x, hard=True, generator=g).argmax(-1),
    "gumbel_max": lambda x, g: gumbel_max(x, generator=g),
    "gumbel_topk": lambda x, g: gumbel_topk(x, 2, generator=g)[0][..., 0],
    "relaxed": relaxed(RelaxedOneHotCategorical),
    "straight-through": relaxed(RelaxedOneHotCategoricalStraightThrough),
    "estimator": of_estimator(rp.StraightThroughGumbelSoftmax()),
    "score": of_estimator(rp.Rloo()),
}
"""The classes that a sampler draws for logits `(rows, K)`, from a generator."""


def zipf(dtype: torch.dtype) -> Tensor:
    """K = 64 logits, 8 above zero, as far as a dtype holds them."""
    return (8 - torch.arange(1, 65).log()).to(dtype)


@every_dtype
@pytest.mark.parametrize(
    "name", ["gumbel_softmax", "gumbel_softmax hard", "gumbel_topk", "relaxed"]
)
def test_zipf_frequencies_survive_every_dtype(name, dtype):
    """Against the softmax of the rounded logits: chi2/dof under 2.1, false fail 1e-7.

    524,288 draws in half precision, where noise in bfloat16 gives 3.6 for F and 500 for torch's
    relaxed categorical; else a quarter.
    """
    logits, generator = zipf(dtype), seeded(1)
    counts = torch.zeros(64)
    for _ in range(16 if dtype.itemsize == 2 else 4):
        winners = WINNERS[name](logits.expand(2**15, -1), generator)
        counts += torch.bincount(winners, minlength=64)
    assert_counts(counts, torch.softmax(logits.double(), -1))


@pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
def test_zipf_frequencies_hold_in_many_draws(dtype):
    """1.6e7 winners of the hard sample: chi2/dof below 1.65; of other seeds 8e-4 would fail.

    F has 1.27, 2.49 and 80.9 here.
    """
    logits, generator = zipf(dtype), seeded(3)
    counts = torch.zeros(64, dtype=torch.int64)
    for _ in range(128):
        rows = logits.expand(125_000, -1)
        counts += (
            gumbel_softmax(rows, hard=True, generator=generator).sum(0, dtype=torch.float32).long()
        )
    expected = counts.sum() * torch.softmax(logits.double(), -1)
    assert counts.sum() == 16_000_000
    assert ((counts - expected).square() / expected).sum() / 63 < 1.65


@pytest.mark.parametrize("dtype", DTYPES[1:3], ids=str)
@pytest.mark.parametrize("name", WINNERS)
def test_uniform_classes_keep_their_halves(name, dtype):
    """K = 1000: the first 500 win half of 5000 draws, false fail 1e-7.

    A half wrong by .08 passes at 1e-8; bfloat16 noise gives .982. gumbel_max is held to .006 in
    test_functional_sampling.
    """
    first = WINNERS[name](torch.zeros(5000, 1000, dtype=dtype), seeded(2)) < 500
    assert_counts(torch.bincount(first.int(), minlength=2), torch.tensor([0.5, 0.5]))


@needs_compiler
def test_zipf_frequencies_survive_the_compiler():
    """The same by index, in one compiled graph for all dtypes; false fail 4e-7."""

    @torch.compile(fullgraph=True)
    def tally(tables: list[Tensor]) -> list[Tensor]:
        return [gumbel_max(logits.expand(2**15, -1)) for logits in tables]

    tables = [zipf(dtype) for dtype in DTYPES]
    counts = torch.zeros(4, 64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(16):
            counts += torch.stack([torch.bincount(x, minlength=64) for x in tally(tables)])
    for row, logits in zip(counts, tables, strict=True):
        assert_counts(row, torch.softmax(logits.double(), -1))


def tail(dtype: torch.dtype) -> Tensor:
    """2000 rows of a class and 16,383 that are 18 nats behind it."""
    return torch.tensor([18.0] + [0.0] * 16_383, dtype=dtype).expand(2000, -1)


def assert_fair(hits: int) -> None:
    """29.9 of 120,000 races expected, 14 to 47 accepted; of other seeds 1.8e-3 would fail.

    Uniforms of 24 bits leave 1 (compiled F) or 0 (torch's relaxed categorical): below 1e-10.
    """
    assert 14 <= hits <= 47


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_tail_race_is_fair(dtype):
    """From a generator. float16 is drawn as bfloat16 is, float64 by torch in 53 bits."""
    draws = (gumbel_softmax(tail(dtype), hard=True, generator=seeded(i)) for i in range(60))
    assert_fair(sum(int((y[:, 0] == 0).sum()) for y in draws))


@needs_compiler
def test_the_compiled_tail_race_is_fair():
    """From keys, in one graph; without a key, see test_functional_sampling.

    Half precision draws what float32 does, here as in eager mode.
    """

    @torch.compile(fullgraph=True)
    def race(tables: list[Tensor], key: Tensor) -> list[Tensor]:
        return [gumbel_max(rows, key=key) for rows in tables]

    tables = [tail(torch.float32), tail(torch.float64)]
    hits = torch.zeros(2, dtype=torch.int64)
    for i in range(60):
        hits += torch.stack([(x != 0).sum() for x in race(tables, torch.tensor(i))])
    for count in hits.tolist():
        assert_fair(count)


@every_dtype
@pytest.mark.parametrize("smallest", [2.0**-149, 2.0**-32])
def test_the_smallest_exponential_makes_no_nan(dtype, smallest, monkeypatch):
    """Where float16's is 0, in 1 of 4e8 entries: noise is drawn in float32, whose is not.

    Two in a row, and also of logits that are not plain; the winner takes all that tau gives it.
    """

    def fixed(self: Tensor, **_: object) -> Tensor:
        assert self.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        values = torch.ones_like(self)
        values[..., 1] = smallest
        values[..., 2:, 2] = smallest
        return self.copy_(values)

    monkeypatch.setattr(Tensor, "exponential_", fixed)
    for shift in (0, 1e4):
        logits = torch.full((4, 5), shift, dtype=dtype, requires_grad=True)
        y = gumbel_softmax(logits, 0.1)
        assert y[:2, 1].eq(1).all()
        assert y[2:, 1:3].eq(0.5).all()
        y.square().sum().backward()
        assert logits.grad.isfinite().all()
    q = RelaxedOneHotCategorical(0.1, logits=torch.zeros(4, 5, dtype=dtype))
    assert q.log_prob(q.rsample()).isfinite().all()


@every_operation
def test_a_generator_decides_and_spares_the_global_one(name):
    """Of every operation: those that draw take a generator or noise; the others draw nothing."""
    operation, before = OPERATIONS[name], torch.get_rng_state()
    first, same = (outcome(operation, matrix, generator=seeded(1)) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, same, strict=True))
    if draws(operation):
        others = [outcome(operation, matrix, generator=seeded(s)) for s in range(2, 12)]
        assert any(not torch.equal(first[0], other[0]) for other in others)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", rp.distributions.__all__)
def test_distributions_are_drawn_from_a_generator_or_a_key(name):
    """Of every distribution: both repeat, differ from others, and spare the global generator."""
    q, before = every_distribution()[name].expand((40,)), torch.get_rng_state()
    for make in (lambda i: {"generator": seeded(i)}, lambda i: {"key": i}):
        first, same, other = (rp.Score().draw(q, 2, **make(i)).points for i in (1, 1, 2))
        assert torch.equal(first, same)
        assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def traced(function):
    """One graph, run by torch's own operators."""
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager")


@every_dtype
@every_operation
def test_a_key_means_the_same_compiled_as_eager(name, dtype):
    """Every operation compiles whole, and gives what it gives in eager mode, to rounding."""
    call, table = bound(OPERATIONS[name], key=5), matrix.to(dtype)
    for eager, compiled in zip(call(table), traced(call)(table), strict=True):
        torch.testing.assert_close(eager, compiled)


def gradients(function, dtype: torch.dtype) -> list[Tensor]:
    """What a function of logits returns, and the gradient of the last of it."""
    leaf = matrix.to(dtype, copy=True).requires_grad_()
    values = function(leaf)
    return [*values, torch.autograd.grad(values[-1].sum(), leaf)[0]]


def estimate(estimator):
    """Points and value of an estimator, at one key."""

    def step(logits: Tensor) -> tuple[Tensor, Tensor]:
        q = OneHotCategorical(logits=logits, validate_args=False)
        points, combine = estimator.draw(q, 3, key=7)
        return points, combine((points * torch.arange(4).to(points)).sum(-1).square())

    return step


ESTIMATORS = [rp.GumbelSoftmax(0.5), rp.StraightThroughGumbelSoftmax(0.5), rp.Rloo()]


@every_dtype
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_estimators_draw_the_same_compiled_as_eager(estimator, dtype):
    """Points, value and gradient at one key, bit for bit."""
    step = estimate(estimator)
    for eager, compiled in zip(gradients(step, dtype), gradients(traced(step), dtype), strict=True):
        assert torch.equal(eager, compiled)


@needs_compiler
def test_an_estimator_draws_the_same_in_compiled_code():
    """By the default compiler, to rounding: other operations of it are in test_keys."""
    torch._dynamo.reset()
    step = estimate(rp.StraightThroughGumbelSoftmax(0.5))
    compiled = torch.compile(step, fullgraph=True)
    for pair in zip(*(gradients(f, torch.float32) for f in (step, compiled)), strict=True):
        torch.testing.assert_close(*pair)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", [RelaxedBernoulli, RelaxedOneHotCategorical])
def test_relaxed_distributions_draw_the_same_compiled_as_eager(kind, dtype):
    """Samples, entropies and densities, in log space; in all dtypes in test_numerics_densities."""

    def step(logits: Tensor) -> tuple[Tensor, ...]:
        q = kind(0.3, logits=logits, validate_args=False)
        log = q.log_rsample((2,), Noise(key=7))
        return log, q.entropy(), q.log_prob_of_log(log)

    for eager, compiled in zip(gradients(step, dtype), gradients(traced(step), dtype), strict=True):
        torch.testing.assert_close(eager, compiled)
