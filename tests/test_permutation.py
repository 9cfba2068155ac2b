"""Permutations: hard ones against brute force and a closed form, and their two gradients."""

import itertools

import pytest
import torch
from torch.distributions import Independent

import laws
import reparam as rp
from acceptance import assert_counts, seeded
from reparam.distributions import Permutation
from reparam.families import family, support
from reparam.noise import Noise
from reparam.problems.grids import grid
from reparam.problems.problem import by_matching

INF = float("inf")


@pytest.mark.parametrize("n", [1, 2, 4])
def test_samples_are_the_best_of_all_permutations(n):
    """For given noise, no permutation has a larger <P, logits + G>."""
    q = Permutation(torch.randn(3, n, n, generator=seeded(0), dtype=torch.float64))
    f = family(q)
    z = f.perturb(40, Noise(seeded(1)))
    every = q.enumerate_support(expand=False).squeeze(1)
    assert every.argmax(-1).tolist() == [list(p) for p in itertools.permutations(range(n))]
    scores = (z.unsqueeze(2) * every).sum((-2, -1))
    assert torch.equal(f.hard(z), every[scores.argmax(-1)])


def test_two_items_follow_their_closed_form():
    """Chi-square, 1e5 draws of each of 4 rows: false fail 1e-7; 3 % off passes below 1e-8."""
    q = Permutation(1.5 * torch.randn(4, 2, 2, generator=seeded(2), dtype=torch.float64))
    x = q.sample((100_000,), Noise(seeded(0)))
    identity = by_matching(q, lambda points: points[..., 0, 0])
    counts = torch.stack([x[..., 0, 0].sum(0), x[..., 0, 1].sum(0)], -1)
    assert_counts(counts, torch.stack([identity, 1 - identity], -1))


def test_the_score_is_that_of_the_noise():
    """1 - E in every logit, -log E the noise; none where a pair is forbidden."""
    logits = torch.tensor([[0.3, -INF], [1e4, -2.0]], dtype=torch.float64, requires_grad=True)
    f = family(Permutation(logits))
    u = torch.tensor([[0.2, 0.5], [0.9, 0.01]], dtype=torch.float64)
    trace = f.trace(f.perturb(1, Noise(uniforms=u[None])))
    assert not trace.requires_grad
    (slope,) = torch.autograd.grad(f.trace_log_prob(trace).sum(), logits)
    truth = (1 + u.log()).masked_fill(logits == -INF, 0)
    torch.testing.assert_close(slope, truth.detach(), rtol=1e-9, atol=1e-9)
    assert torch.equal(f.condition(trace, Noise(seeded(0))), trace)


def test_points_and_score_come_from_one_draw():
    """The score that weights a cost is that of the noise which decided its point."""
    logits = torch.randn(3, 4, 4, generator=seeded(1), dtype=torch.float64).requires_grad_()
    q = Permutation(logits)
    f = family(q)
    z = f.perturb(6, Noise(seeded(0)))
    draw = rp.Score().draw(q, 6, generator=seeded(0))
    assert torch.equal(draw.points, f.hard(z))
    costs = draw.points[..., 0, 0] + 2 * draw.points[..., 1, 2]
    truth = (costs * f.trace_log_prob(f.trace(z))).mean(0).sum()
    slopes = [torch.autograd.grad(x, logits)[0] for x in (draw.combine(costs).sum(), truth)]
    torch.testing.assert_close(*slopes)


def test_the_control_variate_has_mean_zero():
    """E[grad c(z) - c(z) grad log p(z)] = 0 for a smooth c, by a trapezoid rule over four numbers.

    Beside the score's own law, this makes RELAX unbiased: it is their sum.
    """
    t = grid(torch.arange(-7.7, 7.7, 0.5, dtype=torch.float64), 4)
    weights = (torch.exp(-t.square() / 2) * 0.5 / (2 * torch.pi) ** 0.5).prod(-1)
    kept = weights > 1e-13
    u = torch.special.ndtr(t[kept]).clamp(1e-300, 1 - 2**-53).view(1, -1, 2, 2)
    logits = torch.tensor([[0.3, -0.4], [0.8, 0.1]], dtype=torch.float64, requires_grad=True)
    q = Permutation(logits.expand(u.shape[1], 2, 2))
    draw = rp.Relax(laws.Wave(2)).draw(q, noise=torch.stack([u, u]))
    value = draw.combine(torch.zeros(draw.points.shape[:2], dtype=torch.float64))
    assert value.abs().max() == 0
    each, mean = torch.autograd.grad(weights[kept] @ value, (q.logits, logits))
    assert each.abs().sum() > 0.1
    torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-8)


def test_relaxed_points_are_balanced():
    """Sinkhorn's matrices: no NaN at n = 10, tau = .01; columns sum to 1, rows too at tau = 1."""
    logits = torch.randn(5, 10, 10, generator=seeded(0), requires_grad=True)
    f = family(Permutation(logits))
    for tau in (0.01, 1.0):
        y = f.soft(f.perturb(8, Noise(seeded(1))), tau)
        assert ((y >= 0) & (y <= 1 + 1e-6)).all()
        torch.testing.assert_close(y.sum(-2), torch.ones(8, 5, 10))
        (slope,) = torch.autograd.grad(y.square().sum(), logits)
        assert slope.isfinite().all()
    torch.testing.assert_close(y.sum(-1), torch.ones(8, 5, 10), rtol=0, atol=1e-3)


def test_forbidden_pairs_are_never_matched():
    """-inf logits: hard points avoid them, soft ones are 0 there, gradients are finite."""
    logits = torch.zeros(3, 3).fill_diagonal_(-INF).requires_grad_()
    q = Permutation(logits)
    assert q.sample((100,)).diagonal(dim1=-2, dim2=-1).sum() == 0
    weight = torch.arange(9.0).view(3, 3).square()
    for estimator in (rp.Score(), rp.Rloo(), rp.GumbelSoftmax(), rp.Rebar()):
        draw = estimator.draw(q, 8, generator=seeded(0))
        value = draw.combine((draw.points * weight).sum((-2, -1)).sin())
        (slope,) = torch.autograd.grad(value, logits)
        assert slope.isfinite().all()
        assert slope.abs().sum() > 0


def test_its_probabilities_are_not_known():
    """The messages say so, and what serves instead."""
    q = Permutation(torch.zeros(2, 3, 3))
    with pytest.raises(NotImplementedError, match="not known in closed form; 'score', 'rloo'"):
        q.log_prob(q.sample())
    for way in (rp.Enumerate(), rp.SumAndSample(), rp.UnorderedSet()):
        for each in (q, Independent(q, 1)):
            with pytest.raises(TypeError, match=r"q: expected .* tractable .* use 'score', 'rloo'"):
                way.draw(each)


def test_independent_permutations_add_their_scores():
    """The score function of two matrices under one cost: both get a gradient, and q its value."""
    logits = torch.zeros(2, 3, 3, requires_grad=True)
    draw = rp.Score().draw(Independent(Permutation(logits), 1), 16, generator=seeded(0))
    assert draw.points.shape == (16, 2, 3, 3)
    value = draw.combine(draw.points[..., 0, 0].prod(-1))
    assert value.shape == ()
    (slope,) = torch.autograd.grad(value, logits)
    assert (slope.abs().sum((-2, -1)) > 0).all()


def test_torchs_protocol():
    """Shapes, support, expansion, the dtype of points."""
    q = Permutation(torch.randn(2, 3, 3, generator=seeded(0)).half())
    assert (q.batch_shape, q.event_shape) == ((2,), (3, 3))
    x = q.sample((4, 5))
    assert x.shape == (4, 5, 2, 3, 3)
    assert x.dtype == torch.float16
    assert q.support.check(x).all()
    assert not q.support.check(x.roll(1, -1) / 2 + x / 2).any()
    assert q.expand((3, 2)).sample().shape == (3, 2, 3, 3)
    assert q.enumerate_support().shape == (6, 2, 3, 3)
    assert not q.sample().requires_grad


def test_wrong_arguments():
    """Each message says what was expected and what came."""
    with pytest.raises(ValueError, match=r"expected square matrices \(\*batch, n, n\), got shape"):
        Permutation(torch.zeros(3, 2))
    with pytest.raises(TypeError, match="logits: expected a real floating-point tensor"):
        Permutation(torch.zeros(3, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="at most 1,048,576 outcomes to enumerate, got 3,628,800"):
        Permutation(torch.zeros(10, 10)).enumerate_support()
    with pytest.raises(TypeError, match="q: expected a distribution with tractable"):
        support(Permutation(torch.zeros(2, 2)))
