"""What holds for every public operation, at any shape, dtype, temperature, mask and key.

Hypothesis looks for the case that does not.
"""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reparam as rp
from acceptance import seeded
from reparam import functional as F
from reparam.noise import Noise
from sampler_cases import every_distribution
from strategies import BATCHES, FULL_BATCHES, SEEDS, TAUS, logits, masks


def off(dtype, classes):
    """How far a row of so many entries in this dtype may be from the sum that it has."""
    return classes * torch.finfo(dtype).eps


def assert_slopes(y, *leaves):
    """Gradients that are numbers, of a direction that no symmetry annuls.

    Not always finite: at a tie they are 1 / tau, which float16 may not hold.
    """
    direction = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    for slope in torch.autograd.grad(y, leaves, direction, allow_unused=True):
        assert slope is None or not slope.isnan().any()


def assert_simplex(y, z, total=1):
    """Rows `(*batch, K)` of nonnegative numbers with their total, in the dtype of z."""
    assert y.shape == z.shape
    assert y.dtype == z.dtype
    assert (y >= 0).all()
    sums = y.detach().double().sum(-1)
    torch.testing.assert_close(
        sums, torch.full_like(sums, total), rtol=0, atol=2 * total * off(y.dtype, y.shape[-1])
    )


@given(logits(), TAUS, st.booleans(), SEEDS, st.data())
def test_gumbel_softmax(z, tau, hard, key, data):
    """On the simplex, or one-hot; zero where masked; slopes are numbers; a key repeats itself."""
    mask = data.draw(masks(z))
    y = F.gumbel_softmax(z, tau, hard, mask=mask, key=key)
    assert_simplex(y, z)
    if hard:
        assert ((y == 0) | (y == 1)).all()
    if mask is not None:
        assert (y[~mask] == 0).all()
    assert_slopes(y, z)
    assert F.gumbel_softmax(z, tau, hard, mask=mask, key=key).equal(y)


@given(logits(), st.sampled_from([0.1, 1.0]), SEEDS, st.data())
def test_a_dimension_is_a_dimension(z, tau, key, data):
    """Classes may lie along any: the sample is that of the moved logits."""
    moved = z.movedim(-1, data.draw(st.integers(-z.ndim, z.ndim - 1)))
    dim = next(d for d in range(z.ndim) if moved.movedim(d, -1).shape == z.shape)
    back = moved.movedim(dim, -1)
    y = F.gumbel_softmax(moved, tau, dim=dim, key=key)
    assert y.movedim(dim, -1).equal(F.gumbel_softmax(back, tau, key=key))
    assert F.gumbel_max(moved, dim, key=key).equal(F.gumbel_max(back, key=key))


@given(logits(), st.integers(1, 3), SEEDS, st.data())
def test_indices(z, n, key, data):
    """Allowed classes, the same as the one-hot's; n of them along a first dimension."""
    mask = data.draw(masks(z))
    one = F.gumbel_max(z, mask=mask, key=key)
    many = F.sample_indices(z, n, mask=mask, key=key)
    assert one.dtype == many.dtype == torch.int64
    assert many.shape == (n, *one.shape) == (n, *z.shape[:-1])
    hot = F.gumbel_softmax(z, 1.0, True, mask=mask, key=key)
    assert one.equal(hot.detach().argmax(-1))
    if mask is not None and one.numel():
        assert mask.gather(-1, many.movedim(0, -1)).all()


@given(logits(), TAUS, SEEDS, st.data())
def test_topk(z, tau, key, data):
    """k different classes, best first; relaxed and hard rows that sum to k."""
    k = data.draw(st.integers(1, z.shape[-1]))
    chosen, scores = F.gumbel_topk(z, k, key=key)
    assert chosen.shape == scores.shape == (*z.shape[:-1], k)
    assert (scores.diff(dim=-1) <= 0).all()
    assert all(len(set(row)) == k for row in chosen.reshape(-1, k).tolist())
    for hard in (False, True):
        y = F.relaxed_topk(z, k, tau, hard=hard, key=key)
        assert_simplex(y, z, total=k)
        assert (y <= 1).all()
        assert_slopes(y, z)
    assert F.hard_topk(z, k).sum(-1).eq(k).all()
    assert_simplex(F.soft_topk(z, k, tau), z, total=k)


@given(logits(), TAUS)
def test_softened_argmax(z, tau):
    """The argmax's place stays the largest; the two-class step is its sigmoid."""
    y, hot = F.soft_argmax(z, tau), F.hard_argmax(z)
    assert_simplex(y, z)
    assert_slopes(y, z)
    assert (y.gather(-1, hot.argmax(-1, keepdim=True)) == y.amax(-1, keepdim=True)).all()
    step = F.soft_step(z, tau)
    assert ((step >= 0) & (step <= 1)).all()
    assert ((step > 0.5) <= (z >= 0)).all()
    assert_slopes(step, z)
    through = F.straight_through(hot, y)
    assert through.equal(hot)


@given(logits(square=True), st.sampled_from([0.05, 0.3, 1.0, 10.0]), SEEDS)
def test_balanced_matrices(scores, tau, key):
    """Columns sum to 1, rows do but for the residual; the matching is a permutation."""
    for y, residual in (F.gumbel_sinkhorn(scores, tau, key=key), F.sinkhorn(scores, tau)):
        assert y.shape == scores.shape
        assert (y >= 0).all()
        sums = torch.cat([y.detach().double().sum(-1), y.detach().double().sum(-2)], -1)
        slack = residual.detach().double()[..., None] + 4 * off(y.dtype, y.shape[-1])
        assert ((sums - 1).abs() <= slack).all()
        assert_slopes(y, scores)
    best = F.matching(scores)
    assert best.sum(-1).eq(1).all()
    assert best.sum(-2).eq(1).all()


@given(logits(), st.sampled_from([0.01, 0.3, 1.0, 10.0]), st.booleans())
def test_sorting(scores, tau, hard):
    """Rows of the relaxed permutation lie on the simplex; hard ones put scores in order."""
    for sort in (F.soft_sort, F.neural_sort):
        y = sort(scores, tau, hard)
        assert y.shape == (*scores.shape, scores.shape[-1])
        assert_simplex(y, y)
        assert_slopes(y, scores)
        if hard:
            ranked = (y.detach().double() @ scores.detach().double().unsqueeze(-1)).squeeze(-1)
            assert (ranked.diff(dim=-1) <= 0).all()


@given(logits(), st.sampled_from([1e-3, 0.1, 2 / 3, 1.0, 5.0]), SEEDS)
def test_gates(z, tau, key):
    """Between 0 and 1, open as likely as `hard_concrete_l0` says, the same for a key."""
    gates = F.hard_concrete(z, tau, key=key)
    assert gates.shape == z.shape
    assert gates.dtype == z.dtype
    for value in (gates, F.hard_concrete_eval(z), F.hard_concrete_l0(z, tau)):
        assert ((value >= 0) & (value <= 1)).all()
        assert_slopes(value, z)
    assert F.hard_concrete(z, tau, key=key).equal(gates)


def test_every_operation_is_here():
    """A new name of `functional` brings a property."""
    text = Path(__file__).read_text(encoding="utf-8")
    inside = {"gumbel_softmax_samples", "index_samples"}  # what estimators call, of checked logits
    assert {name for name in F.__all__ if f"F.{name}" not in text} == inside


@given(st.sampled_from(sorted(every_distribution())), BATCHES, SEEDS)
def test_distributions(name, batch, key):
    """Samples have their shape, lie in the support, have a log-density, and a key repeats them."""
    q = every_distribution()[name].expand(batch)
    shape = torch.Size([2])
    points = rp.families.sample(q, 2, Noise(key=key))
    assert points.shape == shape + torch.Size(batch) + q.event_shape
    assert 0 in batch or q.support.check(points).all()  # torch checks no empty points
    try:
        density = q.log_prob(points)
    except NotImplementedError:
        return
    assert density.shape == shape + torch.Size(batch)
    assert not density.isnan().any()
    assert rp.families.sample(q, 2, Noise(key=key)).equal(points)


@pytest.mark.parametrize("name", rp.ESTIMATORS)
@given(batch=FULL_BATCHES, classes=st.integers(2, 4), n=st.integers(2, 3), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_estimators(name, batch, classes, n, seed):
    """A finite loss of the batch's shape, with a finite gradient, for any batch."""
    from reparam.report.listing import fits, instance  # noqa: PLC0415

    z = torch.randn(*batch, classes, generator=seeded(seed)).requires_grad_()
    estimator = instance(rp.ESTIMATORS[name])
    q = next(
        (
            q
            for q in (
                torch.distributions.OneHotCategorical(logits=z),
                torch.distributions.Independent(torch.distributions.Bernoulli(logits=z), 1),
                torch.distributions.Independent(torch.distributions.Normal(z, 1.0), 1),
                torch.distributions.Independent(torch.distributions.Poisson(z.exp()), 1),
            )
            if name != "relax" and fits(estimator, q)
        ),
        None,
    )
    if q is None:
        return
    draw = estimator.draw(q, n, key=seed)
    loss = draw.combine((draw.points - 0.3).square().sum(-1))
    assert loss.shape == torch.Size(batch)
    assert loss.isfinite().all()
    (slope,) = torch.autograd.grad(loss.sum(), z)
    assert slope.isfinite().all()


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.integers(1, 500), st.integers(0, 2_000))
def test_schedules(start, end, steps, at):
    """Within their ends at every step, and where they promise it, at the end."""
    for schedule in (
        rp.schedules.Linear(start, end, steps),
        rp.schedules.Cosine(start, end, steps),
    ):
        low, high = min(start, end), max(start, end)
        assert low * (1 - 1e-9) <= schedule.at(at) <= high * (1 + 1e-9)
        assert schedule.at(10 * steps) == pytest.approx(end)
    falling = rp.schedules.Exponential.reaching(max(start, end), min(start, end), steps)
    assert falling.at(at) >= falling.at(at + 1) >= min(start, end)
