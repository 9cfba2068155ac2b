"""Relaxed counts: the truncated law exactly, gradients by enumeration and quadrature, refusals."""

import pytest
import torch
from scipy import stats
from torch import distributions as D

import reparam as rp
from acceptance import assert_counts, needs_compiled_copies, seeded
from reparam.distributions import RelaxedCount, RelaxedCountStraightThrough
from reparam.noise import Noise

DOUBLE = {"dtype": torch.float64}
BASES = {
    "Poisson": (D.Poisson, 3.2, stats.poisson),
    "Binomial": (lambda a: D.Binomial(7, a), 0.3, lambda a: stats.binom(7, a)),
    "NegativeBinomial": (
        lambda a: D.NegativeBinomial(2.5, a),
        0.4,
        lambda a: stats.nbinom(2.5, 1 - a),
    ),
    "Geometric": (D.Geometric, 0.3, lambda a: stats.geom(a, loc=-1)),
}
every_base = pytest.mark.parametrize("name", BASES)
every_kind = pytest.mark.parametrize("kind", [RelaxedCount, RelaxedCountStraightThrough])


def built(name, kind=RelaxedCountStraightThrough, tau=0.5, **bounds):
    """A distribution, its base's parameter, and scipy's base."""
    build, value, law = BASES[name]
    leaf = torch.tensor(value, **DOUBLE, requires_grad=True)
    return kind(tau, build(leaf), **bounds), leaf, law(value)


@every_base
@pytest.mark.parametrize("bounds", [None, (1, 5)])
def test_the_law_is_that_of_the_truncated_base(name, bounds):
    """Probabilities, moments, entropy, support and the mass left out, against scipy's."""
    q, _, law = built(name, bounds=bounds)
    k = q.enumerate_support()
    assert torch.equal(k, torch.arange(q.low, q.high + 1, **DOUBLE))
    inside = torch.as_tensor(law.pmf(k.numpy()))
    outside = law.cdf(q.low - 1) + law.sf(q.high)
    assert q.truncated_mass.item() == pytest.approx(outside, rel=1e-9, abs=1e-15)
    p = inside / inside.sum()
    torch.testing.assert_close(q.log_prob(k).exp(), p, rtol=1e-11, atol=0)
    mean = p @ k
    torch.testing.assert_close(q.mean, mean)
    torch.testing.assert_close(q.variance, p @ (k - mean).square())
    torch.testing.assert_close(q.entropy(), -(p @ p.log()))


@every_base
@pytest.mark.parametrize("tolerance", [1e-2, 1e-6, 1e-12])
def test_the_bounds_are_the_narrowest(name, tolerance):
    """Each side leaves out half the tolerance at most, and one count less would leave out more."""
    q, _, law = built(name, tolerance=tolerance)
    assert law.cdf(q.low - 1) <= tolerance / 2 < law.cdf(q.low)
    assert law.sf(q.high) <= tolerance / 2 < law.sf(q.high - 1)


def test_rows_share_the_widest_bounds():
    """Far from 0 too; of rows with different ends the impossible counts have probability 0."""
    rates = torch.tensor([400.0, 1000.0])
    q = RelaxedCountStraightThrough(0.5, D.Poisson(rates))
    first, last = (stats.poisson(r) for r in rates.tolist())
    assert first.cdf(q.low - 1) <= 5e-7 < first.cdf(q.low)
    assert last.sf(q.high) <= 5e-7 < last.sf(q.high - 1)
    assert (q.truncated_mass <= 1e-6).all()
    torch.testing.assert_close(q.mean, rates, rtol=1e-6, atol=0)
    trials = D.Binomial(torch.tensor([2.0, 5.0]), torch.tensor([0.3, 0.6]))
    q = RelaxedCountStraightThrough(0.5, trials)
    assert (q.low, q.high) == (0, 5)
    assert q.log_prob(torch.tensor([3.0, 3.0]))[0] == -torch.inf
    torch.testing.assert_close(q.mean, trials.mean)
    entropies = [stats.binom(n, p).entropy() for n, p in [(2, 0.3), (5, 0.6)]]
    torch.testing.assert_close(q.entropy(), torch.tensor(entropies).float())
    assert (q.rsample((1000,), Noise(seeded(0)))[:, 0] <= 2).all()


def test_float32_parameters_keep_the_law_of_large_counts():
    """Poisson(1000): log_prob in float32 would be off by 5e-4; against scipy to 1e-6."""
    q = RelaxedCountStraightThrough(0.5, D.Poisson(torch.tensor(1000.0)))
    k = q.enumerate_support()
    law = torch.as_tensor(stats.poisson(1000).logpmf(k.numpy()))
    torch.testing.assert_close(q.log_prob(k).double(), law, rtol=1e-6, atol=2e-6)


@every_base
def test_samples_are_the_formula(name):
    """Given uniforms: sum_k k softmax((log p + G) / tau), and its argmax, by hand."""
    u = torch.rand(6, 50, generator=seeded(0), **DOUBLE)
    for tau in (2.0, 0.5, 1e-8):
        q, _, law = built(name, RelaxedCount, tau)
        k = torch.arange(q.low, q.high + 1, **DOUBLE)
        noise = Noise(uniforms=u[:, : len(k)])
        z = torch.as_tensor(law.logpmf(k.numpy())) - (-u[:, : len(k)].log()).log()
        torch.testing.assert_close(q.rsample((6,), noise), torch.softmax(z / tau, -1) @ k)
        hard = built(name, tau=tau)[0].rsample((6,), noise)
        assert torch.equal(hard, k[z.argmax(-1)])
        soft = q.rsample((6,), noise)
        if tau == 1e-8:
            torch.testing.assert_close(soft, hard)
        assert ((soft >= q.low) & (soft <= q.high)).all()


@every_base
def test_both_kinds_have_one_gradient(name):
    """That of the soft count, to second order, by finite differences."""
    u = torch.rand(3, 50, generator=seeded(1), **DOUBLE)
    build, value, _ = BASES[name]
    bounds = built(name)[0].low, built(name)[0].high
    noise = Noise(uniforms=u[:, : bounds[1] - bounds[0] + 1])

    def soft(leaf, tau):
        return RelaxedCount(tau, build(leaf), bounds).rsample((3,), noise)

    leaves = [torch.tensor(v, **DOUBLE, requires_grad=True) for v in (value, 0.7)]
    assert torch.autograd.gradcheck(soft, leaves)
    assert torch.autograd.gradgradcheck(soft, leaves)
    hard = RelaxedCountStraightThrough(leaves[1], build(leaves[0]), bounds).rsample((3,), noise)
    slopes = [torch.autograd.grad(x.sum(), leaves) for x in (hard, soft(*leaves))]
    assert all(torch.equal(*pair) for pair in zip(*slopes, strict=True))


def test_pathwise_is_unbiased_for_the_relaxed_law():
    """Of three counts, over a grid of three uniforms: dE[sin x]/dp is the mean derivative."""
    t = torch.arange(-7.0, 7.01, 0.2, **DOUBLE)
    w = torch.exp(-t.square() / 2) * 0.2 / (2 * torch.pi) ** 0.5
    u = torch.special.ndtr(torch.cartesian_prod(t, t, t))
    weights = (w[:, None, None] * w[:, None] * w).flatten()

    def expectation(p):
        q = RelaxedCount(0.8, D.Binomial(2, p), (0, 2))
        x = rp.Pathwise().draw(q, len(u), noise=u).points
        return weights @ x.sin()

    p = torch.tensor(0.4, **DOUBLE, requires_grad=True)
    gradient = torch.autograd.grad(expectation(p), p)[0]
    with torch.no_grad():
        difference = (expectation(p + 1e-5) - expectation(p - 1e-5)) / 2e-5
    torch.testing.assert_close(gradient, difference, rtol=1e-7, atol=0)


@every_base
def test_hard_counts_follow_the_law(name):
    """Chi-square, 1e5 draws at a temperature that does not matter; false fail 1e-7."""
    q, _, _ = built(name, tau=2.0, tolerance=1e-2)
    x = q.sample((100_000,), Noise(seeded(2)))
    assert not x.requires_grad
    k = q.enumerate_support()
    assert_counts((x[:, None] == k).sum(0), q.log_prob(k).exp())


def test_enumeration_takes_the_hard_one():
    """With the value and the gradient of the binomial's expectation."""
    q, leaf, _ = built("Binomial")
    value = rp.expect(lambda k: (k - 2.0).square(), q, rp.Enumerate())
    p = leaf.item()
    assert value.item() == pytest.approx(7 * p * (1 - p) + (7 * p - 2) ** 2)
    exact = 7 * (1 - 2 * p) + 14 * (7 * p - 2)
    assert torch.autograd.grad(value, leaf)[0].item() == pytest.approx(exact)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_shapes_dtypes_and_sources(kind, dtype):
    """Batches broadcast with the temperature and expand; rows are independent; a key is a row's."""
    q = kind(torch.tensor([[0.5], [1.0]], dtype=dtype), D.Poisson(torch.ones(3, dtype=dtype)))
    assert q.batch_shape == (2, 3)
    assert q.truncated_mass.shape == (2, 3)
    wide = q.expand((4, 2, 3))
    assert type(wide) is kind
    x = wide.rsample((5,), Noise(seeded(0)))
    assert (x.shape, x.dtype) == ((5, 4, 2, 3), dtype)
    assert wide.support.check(x).all()
    assert not torch.equal(x[:, 0], x[:, 1])
    keys = torch.arange(4)
    rows = wide.rsample((5,), Noise(key=keys))
    assert torch.equal(rows[:, 1:2], q.expand((1, 2, 3)).rsample((5,), Noise(key=keys[1:2])))
    if kind is RelaxedCountStraightThrough:
        assert wide.log_prob(x).shape == (5, 4, 2, 3)
        assert wide.enumerate_support().shape == (q.high - q.low + 1, 4, 2, 3)


@needs_compiled_copies
def test_given_bounds_serve_func_and_the_compiler():
    """vmap, jvp and one graph; without bounds the message says to give them."""
    rates = torch.tensor([0.5, 3.0], **DOUBLE)
    u = torch.rand(2, 6, generator=seeded(0), **DOUBLE)

    def draw(rate, bounds=(0, 5)):
        q = RelaxedCount(0.5, D.Poisson(rate, validate_args=False), bounds, validate_args=False)
        return q.rsample((2,), Noise(uniforms=u)).sum()

    slopes = torch.func.vmap(torch.func.grad(draw))(rates)
    leaves = [r.clone().requires_grad_() for r in rates]
    torch.testing.assert_close(
        slopes, torch.stack([torch.autograd.grad(draw(r), r)[0] for r in leaves])
    )
    _, tangent = torch.func.jvp(draw, (rates[0],), (torch.ones((), **DOUBLE),))
    torch.testing.assert_close(tangent, slopes[0])
    compiled = torch.compile(draw, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(rates[1]), draw(rates[1]))
    with pytest.raises(ValueError, match=r"bounds: expected \(low, high\) under torch.compile and"):
        torch.func.grad(lambda r: draw(r, None))(rates[0])


@every_kind
def test_extremes_have_finite_samples_and_gradients(kind):
    """Rates from 1e-9, whose gradient must not vanish with the second count, to 1e5."""
    for rate in (1e-9, 1e-3, 1e5):
        leaf = torch.tensor(rate, **DOUBLE, requires_grad=True)
        x = kind(1e-3, D.Poisson(leaf)).rsample((20,), Noise(seeded(0)))
        assert x.isfinite().all()
        assert torch.autograd.grad(x.sum(), leaf)[0].isfinite()
    tiny = torch.tensor(1e-9, **DOUBLE, requires_grad=True)
    mean = RelaxedCountStraightThrough(1.0, D.Poisson(tiny)).mean
    assert torch.autograd.grad(mean, tiny)[0].item() == pytest.approx(1, rel=1e-8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0.0, D.Poisson(1.0)), ValueError, "temperature .* to satisfy the constraint"),
        ((0.5, torch.ones(2)), TypeError, "base: expected a distribution of counts, got Tensor"),
        (
            (0.5, D.Independent(D.Poisson(torch.ones(2)), 1)),
            TypeError,
            r"got Independent of event shape \(2,\); put Independent around the RelaxedCount",
        ),
        ((0.5, D.Poisson(1.0), (3, 3)), ValueError, r"counts 0 <= low < high, got \(3, 3\)"),
        ((0.5, D.Poisson(1.0), (-1, 3)), ValueError, r"counts 0 <= low < high, got \(-1, 3\)"),
        ((0.5, D.Binomial(2, 0.5), (3, 5)), ValueError, "a possible count in every batch row"),
        ((0.5, D.Poisson(2e6)), ValueError, "whose counts end before 1,048,576, got Poisson"),
    ],
)
def test_what_cannot_be_relaxed_is_refused(arguments, error, message):
    """The message says what to pass."""
    with pytest.raises(error, match=message):
        RelaxedCount(*arguments, validate_args=True)


def test_wrong_tolerances_and_values_are_refused():
    """And relaxed points have no density."""
    with pytest.raises(
        ValueError, match="tolerance: expected a probability between 0 and 1, got 0"
    ):
        RelaxedCount(0.5, D.Poisson(1.0), tolerance=0)
    with pytest.raises(NotImplementedError, match="use RelaxedCountStraightThrough"):
        RelaxedCount(0.5, D.Poisson(1.0)).log_prob(torch.tensor(1.0))
    q = RelaxedCountStraightThrough(0.5, D.Poisson(1.0), (0, 4), validate_args=True)
    for wrong in (0.5, 5.0):
        with pytest.raises(ValueError, match="within the support"):
            q.log_prob(torch.tensor(wrong))
        loose = RelaxedCountStraightThrough(0.5, D.Poisson(1.0), (0, 4), validate_args=False)
        assert loose.log_prob(torch.tensor(wrong)) == -torch.inf
