"""Subsets: their probabilities, marginals and entropies, against every order of every set."""

import itertools
from functools import reduce
from math import comb, log

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from acceptance import seeded
from reparam.distributions import Subset
from reparam.families import family, support
from reparam.functional import soft_topk
from reparam.noise import Noise

INF = float("inf")
SPREADS = [0.3, 2.0, 10.0, 100.0, 3000.0]
SIZES = [(3, 1), (4, 2), (5, 3), (6, 4), (6, 5), (4, 4)]


def ordered(logits: Tensor, order: tuple[int, ...]) -> Tensor:
    """The log-probability of one order of drawing, draw by draw."""
    left, total = list(range(len(logits))), 0
    for i in order:
        total = total + logits[i] - torch.logsumexp(logits[left], 0)
        left.remove(i)
    return total


def by_orders(logits: Tensor, k: int) -> Tensor:
    """The log-probability of every set, in the order of `itertools.combinations`."""
    sets = itertools.combinations(range(len(logits)), k)
    return torch.stack(
        [
            reduce(torch.logaddexp, [ordered(logits, o) for o in itertools.permutations(s)])
            for s in sets
        ]
    )


def leaf(n: int, spread: float, seed: int = 0) -> Tensor:
    """Logits of that standard deviation."""
    return (spread * torch.randn(n, generator=seeded(seed), dtype=torch.float64)).requires_grad_()


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize(("n", "k"), SIZES)
def test_log_probs_are_sums_over_orders(n, k, spread):
    """To 1e-11 in units of the larger of 1 and themselves; the gradient of each set's to 1e-10."""
    logits = leaf(n, spread)
    q = Subset(k, logits)
    got, truth = q.log_prob(q.enumerate_support()), by_orders(logits, k)
    assert ((got - truth).abs() / truth.abs().clamp(min=1)).max() < 1e-11
    for a, b in zip(got, truth, strict=True):
        slopes = [torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (a, b)]
        torch.testing.assert_close(*slopes, rtol=0, atol=1e-10)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize(("n", "k"), SIZES)
def test_means_are_sums_over_sets(n, k, spread):
    """Inclusion marginals to 1e-13, and their gradients; likely or not, they sum to k."""
    logits = leaf(n, spread, seed=1)
    q = Subset(k, logits)
    truth = by_orders(logits, k).exp() @ q.enumerate_support()
    torch.testing.assert_close(q.mean, truth, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(q.variance, truth * (1 - truth), rtol=0, atol=1e-13)
    direction = torch.linspace(1, 2, n, dtype=torch.float64).square()
    slopes = [
        torch.autograd.grad(x @ direction, logits, retain_graph=True)[0] for x in (q.mean, truth)
    ]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n", "k"), [(200, 1), (200, 50), (200, 199), (300, 100)])
def test_equal_logits_make_all_sets_equally_likely(n, k):
    """P(S) = 1 / C(n, k) and marginals k / n, to 1e-10 of the logarithm, also for large sets."""
    q = Subset(k, torch.zeros(n, dtype=torch.float64))
    assert q.log_prob(q.mode).item() == pytest.approx(-log(comb(n, k)), rel=1e-11)
    torch.testing.assert_close(
        q.mean, torch.full((n,), k / n, dtype=torch.float64), rtol=1e-10, atol=0
    )


def test_one_of_n_is_the_softmax():
    """k = 1 is the categorical distribution."""
    logits = leaf(7, 3.0)
    q = Subset(1, logits)
    torch.testing.assert_close(q.mean, torch.softmax(logits, 0), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        q.log_prob(torch.eye(7, dtype=torch.float64)),
        torch.log_softmax(logits, 0),
        rtol=1e-11,
        atol=0,
    )


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_float32_has_its_digits(scale):
    """Values and gradients of float32 logits are float64's to 1e-5."""
    base = scale * torch.randn(3, 6, generator=seeded(3))
    results = []
    for dtype in (torch.float32, torch.float64):
        logits = base.to(dtype).requires_grad_()
        q = Subset(3, logits)
        log_p = q.log_prob(q.enumerate_support()) / scale
        assert q.mean.dtype == log_p.dtype == dtype
        results.append(
            [
                log_p,
                q.mean,
                *(
                    torch.autograd.grad(x.sin().sum(), logits, retain_graph=True)[0]
                    for x in (log_p, q.mean)
                ),
            ]
        )
    for got, truth in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), truth, rtol=2e-5, atol=2e-5)


def test_second_derivatives():
    """Of log-probabilities and marginals, against finite differences of the first."""
    logits = leaf(4, 1.5)

    def log_prob(logits: Tensor) -> Tensor:
        q = Subset(2, logits)
        return q.log_prob(q.enumerate_support())

    assert torch.autograd.gradgradcheck(log_prob, logits)
    assert torch.autograd.gradgradcheck(lambda x: Subset(2, x).mean, logits)


def test_ordered_log_prob():
    """Of each order, draw by draw; batches of logits and of orders broadcast."""
    logits = leaf(5, 2.0)
    orders = torch.tensor(list(itertools.permutations(range(5), 3)))
    truth = torch.stack([ordered(logits, tuple(o)) for o in orders.tolist()])
    torch.testing.assert_close(Subset(3, logits).ordered_log_prob(orders), truth)
    two = Subset(3, torch.stack([logits, logits + 7]))
    torch.testing.assert_close(
        two.ordered_log_prob(orders.unsqueeze(1)), truth.unsqueeze(1).expand(-1, 2)
    )


def test_entropy_and_divergence():
    """By brute force; a set that p excludes costs nothing, one that q alone excludes everything."""
    p_logits, q_logits = leaf(5, 1.5), leaf(5, 1.0, seed=1)
    log_p, log_q = by_orders(p_logits, 2), by_orders(q_logits, 2)
    p, q = Subset(2, p_logits), Subset(2, q_logits)
    torch.testing.assert_close(p.entropy(), -(log_p.exp() * log_p).sum())
    torch.testing.assert_close(kl_divergence(p, q), (log_p.exp() * (log_p - log_q)).sum())
    narrow = Subset(2, torch.tensor([0.0, 1.0, -INF]).requires_grad_())
    wide = Subset(2, torch.zeros(3))
    assert narrow.entropy() == 0
    assert kl_divergence(narrow, wide).item() == pytest.approx(log(3))
    assert kl_divergence(wide, narrow) == INF
    unlikely = Subset(2, torch.tensor([0.0, 0.0, -1e4]))
    assert kl_divergence(unlikely, narrow) == INF
    (slope,) = torch.autograd.grad(kl_divergence(narrow, wide), narrow.logits)
    assert slope.isfinite().all()


def test_a_divergence_needs_sets_of_one_kind():
    """The message names both sizes."""
    with pytest.raises(ValueError, match=r"kl_divergence: .* got k = 2 of 4 and k = 1 of 4"):
        kl_divergence(Subset(2, torch.zeros(4)), Subset(1, torch.zeros(4)))


def test_excluded_classes():
    """Never drawn, no marginal, sets with them at -inf, and gradients finite."""
    logits = torch.tensor([[0.5, -INF, 0.0, 1.0], [0.0, -INF, -INF, 2.0]], requires_grad=True)
    q = Subset(2, logits)
    assert q.sample((500,))[..., 1].sum() == 0
    points = q.enumerate_support()
    log_p = q.log_prob(points)
    assert (log_p[points[..., 1] == 1] == -INF).all()
    torch.testing.assert_close(log_p.exp().sum(0), torch.ones(2))
    assert (q.mean[:, 1] == 0).all()
    torch.testing.assert_close(q.mean[1], torch.tensor([1.0, 0.0, 0.0, 1.0]))
    f = family(q)
    trace = f.trace(f.perturb(50, Noise(seeded(0))))
    z = f.condition(trace, Noise(seeded(1)))
    assert torch.equal(f.trace(z), trace)
    for value in (q.mean, log_p.exp(), q.entropy(), f.soft(z, 0.5), f.trace_log_prob(trace)):
        assert value.isfinite().all()
        (slope,) = torch.autograd.grad(value.sin().sum(), logits, retain_graph=True)
        assert slope.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_stay_finite_in_every_primitive(dtype):
    """Values and gradients at +-1e4, for every set, likely or not, and every order."""
    logits = torch.tensor(
        [[-1e4, 1e4, 0.0, 3e3], [1e4, 1e4, 1e4, -1e4]], dtype=dtype
    ).requires_grad_()
    q = Subset(2, logits)
    f = family(q)
    orders = torch.tensor(list(itertools.permutations(range(4), 2))).unsqueeze(1).expand(-1, 2, -1)
    z = f.condition(orders, Noise(seeded(1)))
    assert torch.equal(f.trace(z), orders)
    for value in (z, f.soft(z, 0.1), f.log_prob(support(q)), f.trace_log_prob(orders), q.mean):
        assert value.isfinite().all()
        assert torch.autograd.grad(value.sum(), logits, retain_graph=True)[0].isfinite().all()


def test_relaxed_points_lie_in_the_hull():
    """Entries in [0, 1] that sum to k, the soft top-k of the perturbed logits."""
    q = Subset(3, torch.randn(50, 9, generator=seeded(0)))
    f = family(q)
    z = f.perturb(20, Noise(seeded(1)))
    for tau in (0.01, 0.5, 5.0):
        y = f.soft(z, tau)
        assert torch.equal(y, soft_topk(z, 3, tau))
        assert ((y >= 0) & (y <= 1)).all()
        assert ((y.sum(-1) - 3).abs() < 1e-5).all()
    torch.testing.assert_close(f.soft(z, 1e-9), f.hard(z))


def test_torchs_protocol():
    """Shapes, support, mode, expansion, dtypes; under Independent as well."""
    q = Subset(2, torch.randn(2, 4, generator=seeded(0)))
    assert (q.batch_shape, q.event_shape) == ((2,), (4,))
    assert q.sample((5, 3)).shape == (5, 3, 2, 4)
    assert q.support.check(q.sample((100,))).all()
    assert not q.support.check(torch.tensor([1.0, 1.0, 1.0, 0.0]))
    assert not q.support.check(torch.tensor([0.5, 0.5, 1.0, 0.0]))
    assert torch.equal(
        q.mode,
        q.enumerate_support().gather(
            0, q.log_prob(q.enumerate_support()).argmax(0)[None, :, None].expand(1, 2, 4)
        )[0],
    )
    wide = q.expand((3, 2))
    assert wide.sample().shape == (3, 2, 4)
    torch.testing.assert_close(wide.mean, q.mean.expand(3, 2, 4))
    assert q.enumerate_support(expand=False).shape == (6, 1, 4)
    assert Independent(q, 1).log_prob(q.mode).shape == ()
    half = Subset(2, torch.zeros(4, dtype=torch.bfloat16))
    assert half.sample().dtype == half.mean.dtype == torch.bfloat16
    assert half.log_prob(half.mode).dtype == torch.float32


def test_logits_are_known_up_to_a_constant():
    """Beside 1e8, equal logits share."""
    q = Subset(2, torch.full((4,), 1e8))
    torch.testing.assert_close(q.mean, torch.full((4,), 0.5))


def test_transforms():
    """vmap over logits, forward mode and the compiler pass through probabilities and marginals."""
    logits = torch.randn(5, 4, generator=seeded(0), dtype=torch.float64)
    point = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)

    def total(logits: Tensor) -> Tensor:
        q = Subset(2, logits, validate_args=False)
        return q.log_prob(point.expand_as(logits)).sum() + q.mean.square().sum()

    each = torch.vmap(total)(logits)
    torch.testing.assert_close(each, torch.stack([total(row) for row in logits]))
    torch.testing.assert_close(
        torch.compile(total, backend="aot_eager", fullgraph=True)(logits), total(logits)
    )
    _, forward = torch.func.jvp(total, (logits,), (torch.ones_like(logits) * logits,))
    torch.testing.assert_close(forward, (torch.func.grad(total)(logits) * logits).sum())


def test_wrong_arguments():
    """Each message says what was expected and what came."""
    with pytest.raises(ValueError, match=r"every row allows .* got 3 and a row with 2; lower k"):
        Subset(3, torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, -INF]]))
    with pytest.raises(ValueError, match=r"every row allows .* got 4 and a row with 3"):
        Subset(4, torch.zeros(3))
    with pytest.raises(ValueError, match="expected at least one class along dim -1, got shape"):
        Subset(1, torch.tensor(0.0))
    with pytest.raises(ValueError, match="k: expected an integer >= 1, got 0"):
        Subset(0, torch.zeros(3))
    with pytest.raises(ValueError, match="logits: expected finite values or -inf, got 1 NaN"):
        Subset(1, torch.tensor([0.0, float("nan")]))
    with pytest.raises(TypeError, match="logits: expected a real floating-point tensor"):
        Subset(1, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="to be within the support"):
        Subset(2, torch.zeros(3), validate_args=True).log_prob(torch.tensor([1.0, 0.0, 0.0]))
    with pytest.raises(
        ValueError, match=r"at most 1,048,576 outcomes to enumerate, got 155,117,520"
    ):
        Subset(15, torch.zeros(30)).entropy()
