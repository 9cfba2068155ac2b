"""Relaxed distributions: entropies, divergences and masks, against integrals done elsewhere."""

import itertools
import math

import mpmath as mp
import pytest
import torch
from scipy import integrate, special
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import Independent, kl_divergence

from acceptance import seeded
from reparam.distributions import RelaxedBernoulli, RelaxedOneHotCategorical
from reparam.noise import Noise

INF = math.inf
DOUBLE = {"dtype": torch.float64}
every_temperature = pytest.mark.parametrize("t", [0.01, 0.3, 1.0, 3.0])


def source(seed=0):
    """Noise of its own."""
    return Noise(seeded(seed))


def double(*values: float) -> Tensor:
    """A float64 vector."""
    return torch.tensor(values, **DOUBLE)


def binary_entropy(t: float, a: float) -> float:
    """-E log p(y) over the logistic noise L, at the logit (a + L) / t of y; adaptive quadrature."""

    def integrand(noise: float) -> float:
        x = abs(a + noise) / t
        slope = x + 2 * special.log1p(math.exp(-x))
        log_law = -abs(noise) - 2 * special.log1p(math.exp(-abs(noise)))
        return math.exp(log_law) * -(math.log(t) + log_law + slope)

    cuts = sorted({-40.0, -a - 20 * t, -a, -a + 20 * t, 0.0, 40.0})
    pairs = itertools.pairwise(cuts)
    return sum(integrate.quad(integrand, *pair, epsabs=1e-12, limit=500)[0] for pair in pairs)


@every_temperature
@pytest.mark.parametrize("a", [0.0, 1.5, -20.0])
def test_the_binary_entropy_is_scipys(t, a):
    """Error below 1e-10 of it in float64, 1e-6 in the others, of any sign of the logit."""
    true = binary_entropy(t, a)
    got = RelaxedBernoulli(t, logits=torch.tensor(a, **DOUBLE)).entropy()
    assert got.item() == pytest.approx(true, rel=1e-10, abs=1e-10)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        # The temperature is a float32: the truth moves with its rounding.
        single = RelaxedBernoulli(t, logits=torch.tensor(a, dtype=dtype)).entropy()
        assert single.dtype == torch.float32
        assert single.item() == pytest.approx(true, rel=1e-6, abs=1e-6)


@every_temperature
@pytest.mark.parametrize("a", [0.0, 1.5, -20.0])
def test_the_categorical_entropy_of_two_classes_is_the_binary(t, a):
    """To 1e-8 (1 + 1 / t), the accuracy of its nested integral; any common shift."""
    c = RelaxedOneHotCategorical(t, logits=double(a + 1e4, 1e4))
    b = RelaxedBernoulli(t, logits=torch.tensor(a, **DOUBLE))
    assert abs(c.entropy() - b.entropy()).item() < 1e-8 * (1 + 1 / t)


@every_temperature
@pytest.mark.parametrize("k", [3, 30])
def test_entropies_are_the_means_of_own_densities(t, k):
    """2e5 draws: within 5.3 standard errors, which 1e-7 of seeds leave."""
    q = RelaxedOneHotCategorical(t, logits=torch.randn(k, generator=seeded(1), **DOUBLE))
    density = q.log_prob_of_log(q.log_rsample((200_000,), source()))
    assert abs(density.mean() + q.entropy()) < 5.3 * density.std() / math.sqrt(200_000)


def test_the_entropy_of_the_uniform_is_zero():
    """Two classes at T = 1 and equal logits: y is uniform."""
    assert RelaxedBernoulli(1.0, logits=torch.tensor(0.0, **DOUBLE)).entropy().abs() < 1e-14
    assert RelaxedOneHotCategorical(1.0, logits=double(0, 0)).entropy().abs() < 1e-8


def true_divergence(d: list[float]) -> float:
    """KL for distinct differences d of the logits, by partial fractions of E log sum_k w_k E_k."""
    with mp.workdps(60):
        w = [mp.exp(mp.mpf(x)) for x in d]
        shares = [mp.fprod(x / (x - y) for y in w if y != x) for x in w]
        mean = mp.fsum(s * (mp.log(x) - mp.euler) for s, x in zip(shares, w, strict=True))
        return float(len(d) * (mean - mp.digamma(len(d))) - mp.fsum(d))


@pytest.mark.parametrize(
    "d",
    [[0, 2], [0, 1e-3], [0, 1000], [0, 1, -2], [0, 30, -7, 5], [i / 10 for i in range(30)]],
    ids=["2", "close", "far", "3", "4", "30"],
)
def test_the_categorical_divergence_is_mpmaths(d):
    """Error below 1e-12 (of 1 or of it) in float64, whatever the temperature and the shift."""
    b = torch.randn(len(d), generator=seeded(1), **DOUBLE)
    a, true = b - double(*d) + 7, true_divergence(d)
    for t in (0.1, 2.0):
        q, p = (RelaxedOneHotCategorical(t, logits=x) for x in (a, b))
        assert kl_divergence(q, p).item() == pytest.approx(true, rel=1e-12, abs=1e-12)


def test_the_divergence_is_the_mean_of_the_log_ratio():
    """2e5 draws: within 5.3 standard errors, which 1e-7 of seeds leave; the reverse is another."""
    a, b = torch.randn(2, 8, generator=seeded(2), **DOUBLE)
    q, p = (RelaxedOneHotCategorical(0.4, logits=x) for x in (a, b))
    log = q.log_rsample((200_000,), source())
    ratio = q.log_prob_of_log(log) - p.log_prob_of_log(log)
    margin = 5.3 * ratio.std() / math.sqrt(200_000)
    assert abs(ratio.mean() - kl_divergence(q, p)) < margin < 0.1
    assert abs(kl_divergence(p, q) - kl_divergence(q, p)) > margin


def test_the_divergence_at_the_edges():
    """Zero at none, also of one class; infinite where p excludes or q does; refused otherwise."""
    a = torch.tensor([[0.3, 1, -2], [0.3, -INF, 2], [0, -INF, -INF], [0, 1, -INF]])
    b = torch.tensor([[0.3, 1, -2], [0.3, -INF, 2], [4, -INF, -INF], [0, -INF, 1]])
    a.requires_grad_()
    got = kl_divergence(*(RelaxedOneHotCategorical(0.5, logits=x) for x in (a, b)))
    assert got.tolist() == pytest.approx([0, 0, 0, INF], abs=1e-9)
    assert torch.autograd.grad(got.sum(), a)[0].abs().max() < 1e-6
    q, p = (RelaxedOneHotCategorical(t, logits=b[0]) for t in (0.5, 0.4))
    with pytest.raises(NotImplementedError, match="OneHotCategorical of one temperature, got dif"):
        kl_divergence(q, p)


def test_shapes_and_independence():
    """Batch shapes broadcast, and events are summed by Independent."""
    t, a = torch.tensor([[0.5], [1.0]]), torch.zeros(3, 4)
    q, p = RelaxedOneHotCategorical(t, logits=a), RelaxedOneHotCategorical(t, probs=a[0].exp())
    assert q.entropy().shape == kl_divergence(q, p).shape == (2, 3)
    assert RelaxedBernoulli(t, logits=a[0, :3]).entropy().shape == (2, 3)
    torch.testing.assert_close(Independent(q, 1).entropy(), q.entropy().sum(-1))


@pytest.mark.parametrize("t", [0.4, 1.0, 2.0])
def test_gradients_are_those_of_finite_differences(t):
    """Of entropies and divergences, in logits and temperature, 1 included; with a mask."""
    a, b = (double(*x).requires_grad_() for x in ((0.3, -1, 2), (1, 0.5, -0.5)))
    t = torch.tensor(t, **DOUBLE, requires_grad=True)
    kind = RelaxedOneHotCategorical
    assert gradcheck(lambda t, a: RelaxedBernoulli(t, logits=a).entropy(), (t, a))
    for mask in (None, torch.tensor([True, False, True])):

        def q(t: Tensor, logits: Tensor, mask: Tensor | None = mask) -> RelaxedOneHotCategorical:
            return kind(t, logits=logits, mask=mask)

        assert gradcheck(lambda t, a, q=q: q(t, a).entropy(), (t, a))
        assert gradcheck(lambda a, b, q=q: q(0.3, a).kl_divergence(q(0.3, b)), (a, b))


@pytest.mark.parametrize("name", ["probs", "logits"])
def test_a_mask_leaves_the_distribution_of_the_allowed_classes(name):
    """Samples, densities, moments and their gradients are the sub-vector's; 0 elsewhere."""
    a = torch.rand(2, 5, generator=seeded(1), **DOUBLE).requires_grad_()
    mask = torch.tensor([True, False, True, True, False])
    t = torch.tensor(0.3, **DOUBLE, requires_grad=True)
    masked = RelaxedOneHotCategorical(t, **{name: a}, mask=mask)
    rest = RelaxedOneHotCategorical(t, **{name: a[:, mask]})
    y = masked.rsample((50,), source())
    plain = y.detach().as_subclass(Tensor)
    assert plain[..., ~mask].eq(0).all()
    assert bool(masked.support.check(plain).all())
    pairs = [
        (masked.log_prob(plain), rest.log_prob(plain[..., mask])),
        (masked.log_prob(y), rest.log_prob(y[..., mask])),
        (masked.entropy(), rest.entropy()),
        (masked.probs[:, mask], rest.probs),
    ]
    for got, wanted in pairs:
        torch.testing.assert_close(got, wanted)
        slopes = [
            torch.autograd.grad(v.sum(), [a, t], retain_graph=True, allow_unused=True)
            for v in (got, wanted)
        ]
        torch.testing.assert_close(*slopes)
        assert slopes[0][0].isfinite().all()
    uniform = RelaxedOneHotCategorical(t, logits=torch.zeros(2, 5, **DOUBLE), mask=mask)
    torch.testing.assert_close(
        kl_divergence(masked, uniform),
        kl_divergence(rest, RelaxedOneHotCategorical(t, logits=torch.zeros(2, 3, **DOUBLE))),
    )


@pytest.mark.parametrize("name", ["probs", "logits"])
def test_a_masked_bernoulli_is_zero_for_sure(name):
    """Its value, density, entropy and gradient; its neighbours are as they were."""
    a = torch.tensor([0.3, 0.6], requires_grad=True)
    mask = torch.tensor([True, False])
    masked, whole = (RelaxedBernoulli(0.2, **{name: a}, mask=m) for m in (mask, None))
    y, z = (q.rsample((50,), source()) for q in (masked, whole))
    assert y[:, 1].eq(0).all()
    assert torch.equal(y[:, 0], z[:, 0])
    for got, wanted in (
        (masked.log_prob(y), whole.log_prob(z)),
        (masked.entropy(), whole.entropy()),
    ):
        assert got[..., 1].eq(0).all()
        assert torch.equal(got[..., 0], wanted[..., 0])
        slope = torch.autograd.grad(got.sum(), a, retain_graph=True)[0]
        assert slope[0] != 0
        assert slope[1] == 0


@pytest.mark.parametrize(
    ("kind", "mask", "error", "message"),
    [
        (RelaxedBernoulli, torch.ones(2), TypeError, "mask: expected a boolean tensor"),
        (RelaxedBernoulli, torch.ones(3).bool(), ValueError, r"of probs, \(2,\), got \(3,\)"),
        (RelaxedOneHotCategorical, torch.ones(1, 2).bool(), ValueError, r"got \(1, 2\)"),
        (RelaxedOneHotCategorical, torch.zeros(2).bool(), ValueError, "to satisfy the constraint"),
    ],
)
def test_wrong_masks_are_refused(kind, mask, error, message):
    """Of another type or shape, or with nothing allowed."""
    with pytest.raises(error, match=message):
        kind(0.5, probs=torch.tensor([0.5, 0.5]), mask=mask, validate_args=True)
