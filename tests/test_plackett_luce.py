"""Rankings: their probabilities draw by draw, and what enumeration and mpmath say of them."""

import itertools
from math import exp, log

import mpmath
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, kl_divergence

from acceptance import seeded
from reparam.distributions import PlackettLuce, Subset
from reparam.families import family, support
from reparam.functional import soft_sort
from reparam.noise import Noise

INF = float("inf")


def by_draws(logits: Tensor, order: tuple[int, ...]) -> Tensor:
    """One log-softmax after another, over what remains."""
    left, total = list(range(len(logits))), 0
    for i in order:
        total = total + Categorical(logits=logits[left]).logits[left.index(i)]
        left.remove(i)
    return total


def leaf(n: int, spread: float) -> Tensor:
    """Logits of that standard deviation."""
    return (spread * torch.randn(n, generator=seeded(0), dtype=torch.float64)).requires_grad_()


@pytest.mark.parametrize("spread", [0.3, 10.0, 3000.0])
@pytest.mark.parametrize(("n", "k"), [(4, None), (5, 2), (4, 1), (1, 1)])
def test_log_probs_are_products_of_draws(n, k, spread):
    """Of every ranking, with the gradient; they sum to one."""
    logits = leaf(n, spread)
    q = PlackettLuce(logits, k)
    points = q.enumerate_support()
    orders = list(itertools.permutations(range(n), k or n))
    assert points.argmax(-1).tolist() == [list(o) for o in orders]
    truth = torch.stack([by_draws(logits, o) for o in orders])
    got = q.log_prob(points)
    torch.testing.assert_close(got, truth, rtol=1e-12, atol=1e-12)
    assert got.exp().sum().item() == pytest.approx(1)
    direction = torch.linspace(1, 2, len(orders), dtype=torch.float64).square()
    slopes = [
        torch.autograd.grad(x @ direction, logits, retain_graph=True)[0] for x in (got, truth)
    ]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-10)


def test_small_weights_keep_their_digits_beside_large_ones():
    """Gradients in float32 to 1e-5 of mpmath's, of weights that span e^200."""
    logits = torch.tensor([100.0, -100.0, -99.0, 40.0, -98.5], requires_grad=True)
    (slope,) = torch.autograd.grad(PlackettLuce(logits).log_prob(PlackettLuce(logits).mode), logits)
    weights = [mpmath.exp(x) for x in logits.tolist()]
    truth, left = [mpmath.mpf(1) for _ in weights], [0, 3, 4, 2, 1]
    while left:
        total = mpmath.fsum(weights[i] for i in left)
        for i in left:
            truth[i] -= weights[i] / total
        left.pop(0)
    torch.testing.assert_close(slope, torch.tensor([float(x) for x in truth]), rtol=1e-5, atol=1e-5)


def test_moments_entropy_and_divergence():
    """By enumeration; the first rank is the softmax, and all ranks sum to a set's marginals."""
    logits, other = leaf(4, 1.5), leaf(4, 0.5)
    q = PlackettLuce(logits, 2)
    torch.testing.assert_close(q.mean[0], torch.softmax(logits, 0))
    torch.testing.assert_close(q.mean.sum(0), Subset(2, logits).mean)
    torch.testing.assert_close(q.variance, q.mean * (1 - q.mean))
    log_p = torch.stack([by_draws(logits, o) for o in itertools.permutations(range(4), 2)])
    log_q = torch.stack([by_draws(other, o) for o in itertools.permutations(range(4), 2)])
    torch.testing.assert_close(q.entropy(), -(log_p.exp() * log_p).sum())
    kl = kl_divergence(q, PlackettLuce(other, 2))
    torch.testing.assert_close(kl, (log_p.exp() * (log_p - log_q)).sum())
    with pytest.raises(ValueError, match="kl_divergence: expected two PlackettLuce of one k"):
        kl_divergence(q, PlackettLuce(other))


def test_excluded_classes_are_never_ranked():
    """A logit of -inf: not among the first k, no chance, and finite gradients."""
    logits = torch.tensor([0.5, -INF, 0.0, 1.0], requires_grad=True)
    q = PlackettLuce(logits, 3)
    assert q.sample((200,))[..., 1].sum() == 0
    points = q.enumerate_support()
    assert (q.log_prob(points)[points[..., 1].sum(-1) == 1] == -INF).all()
    f = family(q)
    z = f.perturb(50, Noise(seeded(0)))
    soft, again = f.soft(z, 0.5), f.condition(f.trace(z), Noise(seeded(1)))
    assert (soft[..., 1] == 0).all()
    assert (again[..., 1] == -INF).all()
    assert torch.equal(f.trace(again), f.trace(z))
    for value in (soft, f.soft(again, 0.5), q.mean, q.entropy(), f.trace_log_prob(f.trace(z))):
        (slope,) = torch.autograd.grad(value.sin().sum(), logits, retain_graph=True)
        assert slope.isfinite().all()
    with pytest.raises(ValueError, match=r"k: expected at most .* got 4 and a row with 3"):
        PlackettLuce(logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_stay_finite_in_every_primitive(dtype):
    """Values and gradients at +-1e4, for every ranking, likely or not."""
    logits = torch.tensor([[-1e4, 1e4, 0.0], [1e4, 1e4, -1e4]], dtype=dtype, requires_grad=True)
    q = PlackettLuce(logits)
    f = family(q)
    orders = support(q).argmax(-1)
    z = f.condition(orders, Noise(seeded(1)))
    assert torch.equal(f.trace(z), orders)
    for value in (z, f.soft(z, 0.1), f.log_prob(support(q))):
        assert value.isfinite().all()
        assert torch.autograd.grad(value.sum(), logits, retain_graph=True)[0].isfinite().all()


def test_relaxed_rows_are_the_soft_sort():
    """Row-stochastic, the first k rows, and the ranking itself as tau falls to 0."""
    q = PlackettLuce(torch.randn(6, 5, generator=seeded(0)), 3)
    f = family(q)
    z = f.perturb(7, Noise(seeded(1)))
    y = f.soft(z, torch.tensor(0.5))
    assert torch.equal(y, soft_sort(z, 0.5)[..., :3, :])
    torch.testing.assert_close(y.sum(-1), torch.ones(7, 6, 3))
    torch.testing.assert_close(f.soft(z, 1e-9), f.hard(z))


def test_torchs_protocol():
    """Shapes, support, mode, expansion; under Independent as well; in half precision."""
    q = PlackettLuce(torch.randn(2, 4, generator=seeded(0)), 3)
    assert (q.batch_shape, q.event_shape) == ((2,), (3, 4))
    x = q.sample((5, 3))
    assert x.shape == (5, 3, 2, 3, 4)
    assert q.support.check(x).all()
    assert not q.support.check(x[..., :2, :].repeat_interleave(2, -2)).any()
    assert torch.equal(q.mode.argmax(-1), q.logits.argsort(-1, descending=True)[..., :3])
    assert (q.log_prob(q.enumerate_support()) <= q.log_prob(q.mode)).all()
    assert q.expand((3, 2)).sample().shape == (3, 2, 3, 4)
    assert Independent(q, 1).log_prob(x).shape == (5, 3)
    half = PlackettLuce(torch.zeros(4, dtype=torch.float16))
    assert half.sample().dtype == torch.float16
    assert half.log_prob(half.mode).item() == pytest.approx(-log(24))
    assert half.log_prob(half.mode).dtype == torch.float32
    with pytest.raises(ValueError, match="at most 1,048,576 outcomes to enumerate, got 3,628,800"):
        PlackettLuce(torch.zeros(10)).entropy()


def test_transforms():
    """vmap over logits, forward mode and the compiler go through log-probabilities."""
    logits = torch.randn(5, 4, generator=seeded(0), dtype=torch.float64)
    point = torch.eye(4, dtype=torch.float64)[[2, 0, 3, 1]]

    def total(logits: Tensor) -> Tensor:
        q = PlackettLuce(logits, validate_args=False)
        return q.log_prob(point.expand(*logits.shape[:-1], 4, 4)).sum()

    torch.testing.assert_close(torch.vmap(total)(logits).sum(), total(logits))
    compiled = torch.compile(total, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(logits), total(logits))
    _, forward = torch.func.jvp(total, (logits,), (logits,))
    torch.testing.assert_close(forward, (torch.func.grad(total)(logits) * logits).sum())


def test_two_items_are_a_coin():
    """P(first wins) = sigmoid of the difference."""
    q = PlackettLuce(torch.tensor([0.7, -0.4]))
    assert q.mean[0, 0].item() == pytest.approx(1 / (1 + exp(-1.1)))
