"""Shapes so small that samples under- and overflow: in log space there is nothing to see of it."""

import pytest
import torch
from torch.distributions import kl_divergence

from acceptance import assert_follows, needs_compiled_copies, needs_compiler, seeded
from reparam.checks import working_dtype
from reparam.distributions import Beta, Dirichlet, Gamma, LogDirichlet
from reparam.noise import Noise

DOUBLE = {"dtype": torch.float64}
every_small = pytest.mark.parametrize("alpha", [1e-3, 1e-4, 1e-6])
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def source(seed=0):
    """Noise of its own."""
    return Noise(seeded(seed))


def assert_moves(value, leaf):
    """The gradient is finite; in float16 nothing is asked, which ends at 65504, below the true."""
    if leaf.dtype != torch.float16:
        assert torch.autograd.grad(value, leaf)[0].isfinite().all()


@every_small
@every_dtype
def test_dirichlet_samples_sit_at_their_vertices(alpha, dtype):
    """No row is (1/3, 1/3, 1/3), and every sample has a density with finite slopes.

    Half of the mass goes to the first of two vertices, .5 +- .005 of 1.1e6 draws: false fail 1e-25;
    a sampler with .51 there passes at 1e-25.
    """
    leaf = torch.full((3,), alpha, dtype=dtype, requires_grad=True)
    q = Dirichlet(leaf)
    x = q.rsample((10_000,), source())
    assert ((x.detach() - 1 / 3).abs().amax(-1) > 1e-3).all()
    assert q.support.check(x).all()
    log_p = q.log_prob(x)
    assert log_p.isfinite().all()
    assert_moves(log_p.sum() + x.sum(), leaf)
    pairs = Dirichlet(torch.full((2,), alpha, dtype=dtype)).rsample((1_100_000,), source())
    assert abs((pairs[:, 0] > 0.5).double().mean().item() - 0.5) < 0.005


@every_small
@every_dtype
def test_beta_samples_sit_at_both_ends(alpha, dtype):
    """P(X > 1/2) = .5 +- .005 of 1.1e6 draws, false fail 1e-25, and X = 1/2 is not seen."""
    leaf = torch.tensor(alpha, dtype=dtype, requires_grad=True)
    q = Beta(leaf, leaf)
    x = q.rsample((1_100_000,), source())
    assert abs((x > 0.5).double().mean().item() - 0.5) < 0.005
    # Half precision rounds what lies within 1/512 of it there, about 4e-3 alpha of all.
    assert int((x == 0.5).sum()) <= (20 if dtype.itemsize == 2 else 0)
    assert ((x > 0) & (x < 1)).all()
    log_p = q.log_prob(x)
    assert log_p.isfinite().all()
    assert_moves(log_p.sum() + x.sum(), leaf)


@every_small
@every_dtype
def test_log_samples_and_their_gradients_are_finite(alpha, dtype):
    """Of the Gamma, the Beta and the Dirichlet, by a generator and by key; all values differ."""
    leaf = torch.full((3,), alpha, dtype=dtype, requires_grad=True)
    for q in (Gamma(leaf, leaf), Beta(leaf, leaf), Dirichlet(leaf)):
        for noise in (source(), Noise(key=1)):
            log = q.log_rsample((300,), noise)
            assert log.dtype == working_dtype(dtype)
            assert log.isfinite().all()
            assert log.amin(-1).unique().numel() == 300
            assert_moves(log.sum(), leaf)


@every_small
def test_the_log_of_a_small_gamma_is_exponential(alpha):
    """-alpha log X -> Exponential(1), off by alpha: KS, 1e5 draws, false fail 1e-7.

    A CDF wrong by .018 passes at 1e-7.
    """
    q = Gamma(torch.tensor(alpha / 10, **DOUBLE), torch.tensor(1.0, **DOUBLE))
    for noise in (source(), Noise(key=3)):
        values = -alpha / 10 * q.log_rsample((100_000,), noise)
        assert_follows(values, lambda e: 1 - torch.exp(-torch.as_tensor(e).clamp(min=0)).numpy())


def beta_and_dirichlet(shapes):
    """Log-space values at a key that is a number in the code, of shapes `(*batch, 3)`."""
    pair = Beta(shapes, shapes, validate_args=False), Dirichlet(shapes, validate_args=False)
    return [q.log_rsample((50,), Noise(key=1)) for q in pair]


@needs_compiled_copies
@pytest.mark.parametrize("dtype", DTYPES[2:], ids=str)
def test_a_graph_draws_small_shapes_as_eager_mode_does(dtype):
    """Run by torch's own operators."""
    torch._dynamo.reset()
    graph = torch.compile(beta_and_dirichlet, fullgraph=True, backend="aot_eager")
    shapes = torch.tensor([1e-3, 1e-4, 1e-6], dtype=dtype)
    for got, expected in zip(graph(shapes), beta_and_dirichlet(shapes), strict=True):
        torch.testing.assert_close(got, expected)


@needs_compiler
@needs_compiled_copies
def test_the_compiler_takes_no_key_for_a_number():
    """C++ compilers know what known numbers times loop counters come to, and leave out loops."""
    torch._dynamo.reset()
    shapes = torch.tensor([1e-3, 1e-4, 1e-6])
    compiled = torch.compile(beta_and_dirichlet, fullgraph=True)(shapes)
    for got, expected in zip(compiled, beta_and_dirichlet(shapes), strict=True):
        torch.testing.assert_close(got, expected)


def test_half_precision_has_its_logs_in_float32():
    """And points that round neither to 0 nor to 1."""
    shape = torch.full((3,), 1e-3, dtype=torch.bfloat16)
    for q in (Gamma(shape, shape), Beta(shape, shape), Dirichlet(shape)):
        assert q.log_rsample((100,), source()).dtype == torch.float32
        x = q.rsample((100,), source())
        assert x.dtype == torch.bfloat16
        assert (x > 0).all()
    assert (Beta(shape, shape).rsample((100,), source()) < 1).all()


@pytest.mark.parametrize("shapes", [(1e-3, 2e-3), (0.7, 3.0), (40.0, 25.0)])
def test_the_density_of_the_logs_integrates_to_one(shapes):
    """Over the log-ratio, by the trapezoidal rule; so do its entropy, mean and variance follow."""
    q = LogDirichlet(torch.tensor(shapes, **DOUBLE))
    h = min(0.05, 0.05 / min(shapes))
    ratio = torch.arange(-1_000_000, 1_000_000, **DOUBLE) * min(h, 1.0)
    y = torch.log_softmax(torch.stack([ratio, torch.zeros_like(ratio)], -1), -1)
    log_p = q.log_prob(y)
    weights = log_p.exp() * min(h, 1.0)
    assert weights.sum().item() == pytest.approx(1, abs=1e-9)
    assert q.entropy().item() == pytest.approx(-(weights * log_p).sum().item(), rel=1e-8)
    mean = weights @ y
    torch.testing.assert_close(q.mean, mean, rtol=1e-8, atol=0)
    torch.testing.assert_close(q.variance, weights @ (y - mean).square(), rtol=1e-6, atol=0)


def test_both_densities_differ_by_the_jacobian():
    """And `log_prob_of_log` is `log_prob` of the point, wherever that can be told."""
    shapes = torch.tensor([[0.5, 2.0, 3.0], [1.0, 1.0, 0.1]], **DOUBLE)
    q, p = LogDirichlet(shapes), Dirichlet(shapes)
    y = q.rsample((50,), source())
    torch.testing.assert_close(q.log_prob(y), p.log_prob_of_log(y) + y.sum(-1))
    torch.testing.assert_close(p.log_prob_of_log(y), p.log_prob(y.exp()))
    assert torch.equal(y, p.log_rsample((50,), source()))
    gamma = Gamma(shapes, shapes.flip(0))
    y = gamma.log_rsample((50,), source())
    torch.testing.assert_close(gamma.log_prob_of_log(y), gamma.log_prob(y.exp()))
    beta = Beta(shapes + 1, shapes.flip(0) + 1)
    z = beta.log_rsample((50,), source())
    torch.testing.assert_close(beta.log_prob_of_log(z), beta.log_prob(torch.sigmoid(z)))


def test_divergences_are_the_dirichlets():
    """They do not depend on the coordinate."""
    a, b = torch.tensor([0.5, 2.0, 3.0], **DOUBLE), torch.tensor([1.0, 1e-3, 4.0], **DOUBLE)
    got = kl_divergence(LogDirichlet(a), LogDirichlet(b))
    torch.testing.assert_close(got, kl_divergence(Dirichlet(a), Dirichlet(b)))


def test_the_log_dirichlet_expands_and_validates():
    """As torch's own distributions do."""
    q = LogDirichlet(torch.ones(3), validate_args=True).expand((4, 2))
    assert q.batch_shape == (4, 2)
    assert q.rsample((5,)).shape == (5, 4, 2, 3)
    assert q.log_prob(q.sample()).shape == (4, 2)
    with pytest.raises(ValueError, match="within the support"):
        q.log_prob(torch.zeros(3))
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        LogDirichlet(-torch.ones(3), validate_args=True)
    with pytest.raises(ValueError, match=r"expected at least one dimension, \(\*batch, K\)"):
        LogDirichlet(torch.tensor(1.0))
    with pytest.raises(TypeError, match="expected a real floating-point tensor"):
        LogDirichlet(torch.ones(3, dtype=torch.int64))
