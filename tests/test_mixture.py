"""Mixtures: gradients to weights, locations and scales, of numbers and of vectors."""

import pytest
import torch
from torch import distributions as D

import reparam as rp
from acceptance import assert_follows, seeded
from reparam.distributions import MixtureSameFamily, TruncatedNormal
from reparam.noise import Noise

DOUBLE = {"dtype": torch.float64}


def random(*shape, seed=0):
    """A float64 parameter."""
    return torch.randn(*shape, generator=seeded(seed), **DOUBLE).requires_grad_()


def tril(raw):
    """A Cholesky factor."""
    return raw.tril(-1) + torch.diag_embed(raw.diagonal(dim1=-2, dim2=-1).exp())


LOGITS = random(3)
# Near enough to each other that a quantile crosses from one to the next without a jump.
LOC, RAW = (
    (scale * x.detach()).requires_grad_()
    for scale, x in [(0.5, random(3, 2, seed=1)), (0.4, random(3, 2, 2, seed=2))]
)
KINDS = {
    "independent": lambda logits, loc, raw: MixtureSameFamily(
        D.Categorical(logits=logits), D.Independent(D.Normal(loc, raw[..., 0].exp()), 1)
    ),
    "full covariance": lambda logits, loc, raw: MixtureSameFamily(
        D.Categorical(logits=logits), D.MultivariateNormal(loc, scale_tril=tril(raw))
    ),
    "low rank": lambda logits, loc, raw: MixtureSameFamily(
        D.Categorical(logits=logits),
        D.LowRankMultivariateNormal(loc, raw[..., :1], raw[..., 1].exp()),
    ),
}
every_kind = pytest.mark.parametrize("build", KINDS.values(), ids=KINDS)


@every_kind
def test_derivatives_of_vectors_are_exact(build):
    """First and second, by differences of the roots of the conditional CDFs."""
    noise = Noise(uniforms=torch.rand(4, 2, generator=seeded(3), **DOUBLE))

    def draw(logits, loc, raw):
        return build(logits, loc, raw).rsample((4,), noise)

    assert torch.autograd.gradcheck(draw, (LOGITS, LOC, RAW), atol=1e-6)
    assert torch.autograd.gradgradcheck(draw, (LOGITS, LOC, RAW), atol=1e-5)


@every_kind
def test_gradients_of_vectors_are_those_of_the_expectation(build):
    """E[f'(x) dx] = E[f(x) dlog p] by a trapezoid rule in Phi^-1(u), to 1e-6."""
    t = torch.arange(-6.4, 6.41, 0.06, **DOUBLE)
    w = torch.exp(-t.square() / 2) * 0.06 / (2 * torch.pi) ** 0.5
    u = torch.cartesian_prod(*[torch.special.ndtr(t)] * 2)
    weights = torch.outer(w, w).flatten()
    q = build(LOGITS, LOC, RAW)
    x = q.rsample((len(u),), Noise(uniforms=u))

    def f(x):
        return torch.sin(x[:, 0] + 0.5 * x[:, 1]) + x[:, 0] * x[:, 1]

    leaves = [LOGITS, LOC, RAW]
    pathwise = torch.autograd.grad(weights @ f(x), leaves, retain_graph=True)
    score = torch.autograd.grad(weights @ (f(x.detach()) * q.log_prob(x.detach())), leaves)
    torch.testing.assert_close(pathwise, score, rtol=1e-6, atol=1e-6)


@every_kind
@pytest.mark.parametrize("source", ["global", "generator", "key"])
def test_vectors_follow_the_law(build, source):
    """A projection, by KS on 2e4 draws: false fail 1e-7, .041 off passes at 1e-7."""
    q = build(LOGITS, LOC, RAW)
    noise = {"global": None, "generator": Noise(generator=seeded(0)), "key": Noise(key=1)}[source]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = q.rsample((20_000,), noise)
    assert x.requires_grad
    along = torch.tensor([0.6, -0.8], **DOUBLE)
    inner = q.component_distribution
    if isinstance(inner, D.Independent):
        covariance = torch.diag_embed(inner.variance)
    else:
        covariance = inner.covariance_matrix
    scale = (along @ covariance @ along).sqrt()
    parts = D.Normal(LOC @ along, scale)
    projected = D.MixtureSameFamily(D.Categorical(logits=LOGITS), parts)
    assert_follows(x @ along, lambda x: projected.cdf(torch.as_tensor(x)).detach())


def test_events_of_any_shape():
    """Independent over two dimensions, from every source."""
    components = D.Independent(D.Laplace(torch.zeros(4, 3, 2, 5), 1.0), 2)
    q = MixtureSameFamily(D.Categorical(torch.ones(4, 3)), components)
    u = torch.rand(6, 4, 2, 5, generator=seeded(0))
    for noise in (None, Noise(generator=seeded(0)), Noise(key=1), Noise(uniforms=u)):
        x = q.rsample((6,), noise)
        assert x.shape == (6, 4, 2, 5)
        assert q.log_prob(x).shape == (6, 4)
    assert q.expand((7, 4)).rsample().shape == (7, 4, 2, 5)


def test_components_of_different_supports():
    """Two truncated normals that do not touch: torch's own mixture refuses each one's values."""
    low = torch.tensor([-3.0, 1.0], **DOUBLE)
    logits = torch.tensor([0.3, 0.0], **DOUBLE, requires_grad=True)
    parts = TruncatedNormal(torch.zeros(2, **DOUBLE), 1.0, low, low + 1)
    q = MixtureSameFamily(D.Categorical(logits=logits), parts)
    share = torch.softmax(logits, -1)[0].item()
    u = torch.tensor([share / 2, (1 + share) / 2], **DOUBLE)
    x = q.rsample((2,), Noise(uniforms=u))
    torch.testing.assert_close(x, parts.icdf(torch.tensor([0.5, 0.5], **DOUBLE)))
    torch.testing.assert_close(q.cdf(x), u)
    # F = share F_1 on the left: dF = F_1 dshare, p = share p_1.
    gradient = torch.autograd.grad(x[0], logits)[0][0]
    slope = 0.5 * share * (1 - share)
    p = q.log_prob(x[0].detach()).exp()
    torch.testing.assert_close(gradient, -slope / p)


def test_vectors_of_different_supports():
    """Of one component, each entry is its quantile; of two that do not touch, in turn."""
    low = torch.tensor([[[-3.0, 0.0]], [[1.0, 4.0]]], **DOUBLE)
    parts = D.Independent(TruncatedNormal(torch.zeros_like(low), 1.0, low, low + 1), 2)
    u = torch.tensor([[[0.15, 0.5]], [[0.65, 0.25]]], **DOUBLE)
    q = MixtureSameFamily(D.Categorical(torch.tensor([0.3, 0.7], **DOUBLE)), parts)
    x = q.rsample((2,), Noise(uniforms=u))
    # The first entry says which component it is; given that, the second is that one's own.
    inner = torch.stack([torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.25])]).unsqueeze(1)
    torch.testing.assert_close(x, parts.base_dist.icdf(inner.double()))
    assert q.support.check(x).all()


def test_weights_have_their_gradient_in_both_tails():
    """dx/dlogit = -(F_k - F) pi_k / p, at a level of 1e-6 from either end, in float32 too."""
    for dtype in (torch.float32, torch.float64):
        logits = torch.zeros(2, dtype=dtype, requires_grad=True)
        loc = torch.tensor([-1.0, 1.0], dtype=dtype)
        q = MixtureSameFamily(D.Categorical(logits=logits), D.Normal(loc, torch.ones(2).to(dtype)))
        x = q.rsample((2,), Noise(uniforms=torch.tensor([1e-6, 1 - 1e-6], **DOUBLE)))
        low, high = (torch.autograd.grad(v, logits, retain_graph=True)[0] for v in x)
        torch.testing.assert_close(low, -high.flip(0), rtol=1e-5, atol=0)
        assert 0.05 < high[1] < 0.2


def test_derivatives_of_normals_are_exact():
    """First and second, of a batch, by differences of the roots of the CDF."""
    noise = Noise(uniforms=torch.rand(3, 2, generator=seeded(3), **DOUBLE))

    def draw(logits, loc, raw):
        parts = D.Normal(loc, raw.exp())
        return MixtureSameFamily(D.Categorical(logits=logits), parts).rsample((3,), noise)

    parameters = random(2, 3), random(2, 3, seed=1), random(2, 3, seed=2)
    assert torch.autograd.gradcheck(draw, parameters, atol=1e-6)
    assert torch.autograd.gradgradcheck(draw, parameters, atol=1e-5)


def test_other_components_sample_but_have_no_gradient():
    """The message names them and what serves them."""
    parts = D.Dirichlet(torch.ones(2, 3))
    q = MixtureSameFamily(D.Categorical(torch.ones(2)), parts)
    assert q.sample((5,)).shape == (5, 3)
    with pytest.raises(TypeError, match="expected univariate components, Independent over them"):
        q.rsample()
    with pytest.raises(TypeError, match="noise: expected mixture components with a map from noise"):
        q.sample((5,), Noise(generator=seeded(0)))
    vectors = D.Independent(D.MultivariateNormal(torch.zeros(2, 3, 2), torch.eye(2)), 1)
    with pytest.raises(TypeError, match="got Independent of event shape"):
        MixtureSameFamily(D.Categorical(torch.ones(2)), vectors).rsample()


def test_pathwise_serves_mixtures():
    """As any other distribution, in float32, alone and under Independent."""
    loc = torch.zeros(4, 3, requires_grad=True)
    q = MixtureSameFamily(D.Categorical(torch.ones(4, 3)), D.Normal(loc, 1.0))
    d = rp.Pathwise().draw(D.Independent(q, 1), 8, generator=seeded(0))
    assert d.points.shape == (8, 4)
    (gradient,) = torch.autograd.grad(d.points.sum(), loc)
    # Locations moved together move every sample.
    torch.testing.assert_close(gradient.sum(), torch.tensor(32.0))
