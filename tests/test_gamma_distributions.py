"""The library's Gamma, Beta, Dirichlet and Student's t: laws, gradients by quadrature, protocol."""

import mpmath as mp
import pytest
import torch
from scipy import stats
from torch import distributions as D

import reparam as rp
from acceptance import assert_follows, needs_compiler, seeded
from reparam.distributions import Beta, Dirichlet, Gamma, LogDirichlet, StudentT
from reparam.noise import Noise
from reparam.special.incomplete_gamma import gamma_slope

DOUBLE = {"dtype": torch.float64}
T = torch.arange(-8, 8.005, 0.02, **DOUBLE)
LEVELS = torch.special.ndtr(T)
WEIGHTS = torch.exp(-T.square() / 2) * 0.02 / (2 * torch.pi) ** 0.5

CASES = {
    "Gamma": (Gamma, (2.5, 1.7), lambda a, r: stats.gamma(a, scale=1 / r)),
    "Gamma, small": (Gamma, (0.3, 0.6), lambda a, r: stats.gamma(a, scale=1 / r)),
    "Gamma, large": (Gamma, (900.0, 30.0), lambda a, r: stats.gamma(a, scale=1 / r)),
    "Beta": (Beta, (2.5, 1.2), stats.beta),
    "Beta, small": (Beta, (0.3, 0.6), stats.beta),
    "StudentT": (StudentT, (5.0, 0.4, 1.3), stats.t),
    "StudentT, heavy": (StudentT, (0.8, 0.0, 1.0), stats.t),
}
every_case = pytest.mark.parametrize("name", CASES)
every_kind = pytest.mark.parametrize(
    "q_of",
    [
        lambda p, **kwargs: Gamma(p, 2 * p, **kwargs),
        lambda p, **kwargs: Beta(p, 2 * p, **kwargs),
        lambda p, **kwargs: StudentT(p, p, p, **kwargs),
        Dirichlet,
        LogDirichlet,
    ],
    ids=["Gamma", "Beta", "StudentT", "Dirichlet", "LogDirichlet"],
)


def case(name, dtype=torch.float64):
    """The distribution, its parameters as leaves, and scipy's."""
    kind, values, law = CASES[name]
    leaves = [torch.tensor(v, dtype=dtype, requires_grad=True) for v in values]
    return kind(*leaves), leaves, law(*values)


@every_case
def test_given_uniforms_come_out_as_quantiles(name):
    """To 1e-9 of scipy's, from 1e-9 to 1 - 1e-9."""
    q, _, law = case(name)
    inner = LEVELS[T.abs() < 6]
    expected = torch.where(
        inner < 0.5,
        torch.as_tensor(law.ppf(inner.numpy())),
        torch.as_tensor(law.isf((1 - inner).numpy())),
    )
    points = rp.Pathwise().draw(q, len(inner), noise=inner).points
    torch.testing.assert_close(points, expected, rtol=1e-9, atol=1e-12)


EXPECTATIONS = {
    ("Gamma", torch.log): lambda a, r: mp.digamma(a) - mp.log(r),
    ("Gamma", torch.square): lambda a, r: a * (a + 1) / r**2,
    ("Gamma", torch.sin): lambda a, r: mp.im((1 - 1j / r) ** -a),
    ("Gamma, small", torch.log): lambda a, r: mp.digamma(a) - mp.log(r),
    ("Gamma, small", torch.sin): lambda a, r: mp.im((1 - 1j / r) ** -a),
    ("Gamma, large", torch.square): lambda a, r: a * (a + 1) / r**2,
    ("Beta", torch.log): lambda a, b: mp.digamma(a) - mp.digamma(a + b),
    ("Beta", torch.square): lambda a, b: a * (a + 1) / (a + b) / (a + b + 1),
    ("Beta", torch.sin): lambda a, b: mp.im(mp.hyp1f1(a, a + b, 1j)),
    ("Beta, small", torch.log): lambda a, b: mp.digamma(a) - mp.digamma(a + b),
    ("Beta, small", torch.square): lambda a, b: a * (a + 1) / (a + b) / (a + b + 1),
    ("StudentT", torch.square): lambda df, loc, s: loc**2 + s**2 * df / (df - 2),
}


@pytest.mark.parametrize(("name", "cost"), EXPECTATIONS)
def test_values_and_gradients_are_those_of_the_expectation(name, cost):
    """A trapezoid rule over the quantiles, to 1e-7, against closed forms and mpmath."""
    q, leaves, _ = case(name)
    value = WEIGHTS @ cost(q.rsample(LEVELS.shape, Noise(uniforms=LEVELS)))
    truth, at = EXPECTATIONS[name, cost], tuple(map(mp.mpf, CASES[name][1]))
    assert value.item() == pytest.approx(float(truth(*at)), rel=1e-7)
    for i, gradient in enumerate(torch.autograd.grad(value, leaves)):
        exact = float(mp.diff(truth, at, tuple(int(i == j) for j in range(len(at)))))
        assert gradient.item() == pytest.approx(exact, rel=1e-7, abs=1e-7)


def test_the_gradient_of_heavy_tails_is_that_of_their_logarithm():
    """E log |T| = (log df + digamma(1/2) - digamma(df/2)) / 2, with its slope in df."""
    q, (df, *_), _ = case("StudentT, heavy")
    # Uniforms below 1/2 whose |T| has the levels for quantiles.
    value = WEIGHTS @ q.rsample(T.shape, Noise(uniforms=LEVELS / 2)).abs().log()
    exact = (df.log() + torch.digamma(torch.tensor(0.5, **DOUBLE)) - torch.digamma(df / 2)) / 2
    torch.testing.assert_close(value, exact, rtol=1e-8, atol=0)
    torch.testing.assert_close(*(torch.autograd.grad(v, df)[0] for v in (value, exact)))


def test_dirichlet_gradients_are_those_of_the_expectation():
    """Over a grid of two uniforms: E x, E x^2 and E log x of the first of two entries."""
    alpha = torch.tensor([0.7, 2.5], **DOUBLE, requires_grad=True)
    t = torch.arange(-8, 8.05, 0.1, **DOUBLE)
    w = torch.exp(-t.square() / 2) * 0.1 / (2 * torch.pi) ** 0.5
    u = torch.special.ndtr(torch.cartesian_prod(t, t))
    weights = (w[:, None] * w).flatten()
    x, a0 = Dirichlet(alpha).rsample((len(u),), Noise(uniforms=u))[:, 0], alpha.sum()
    a = alpha[0]
    for got, exact in [
        (x, a / a0),
        (x.square(), a * (a + 1) / (a0 * (a0 + 1))),
        (x.log(), torch.digamma(a) - torch.digamma(a0)),
    ]:
        value = weights @ got
        torch.testing.assert_close(value, exact, rtol=1e-6, atol=1e-6)
        gradients = [torch.autograd.grad(v, alpha, retain_graph=True)[0] for v in (value, exact)]
        torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_native_samples_follow_the_law(name, dtype):
    """KS, 2e5 draws: false fail 1e-7; a CDF wrong by .0130 passes at 1e-7."""
    q, leaves, law = case(name, dtype)
    points = rp.Pathwise().draw(q, 200_000, generator=seeded(1)).points
    assert points.dtype == dtype
    assert_follows(points, law.cdf)
    assert all(g.isfinite() for g in torch.autograd.grad(points.sum(), leaves))


@every_case
def test_keyed_samples_follow_the_law(name):
    """KS, 2e4 draws: false fail 1e-7; a CDF wrong by .042 passes at 1e-7."""
    q, _, law = case(name)
    assert_follows(rp.Pathwise().draw(q, 20_000, key=5).points, law.cdf)


def test_dirichlet_marginals_follow_the_law():
    """Beta(a, rest): KS, 1e5 draws, false fail 1e-7; a CDF wrong by .018 passes at 1e-7."""
    q = Dirichlet(torch.tensor([0.2, 1.0, 3.0], **DOUBLE))
    x = q.rsample((100_000,), Noise(seeded(0)))
    for k, (a, rest) in enumerate([(0.2, 4.0), (1.0, 3.2), (3.0, 1.2)]):
        assert_follows(x[:, k], stats.beta(a, rest).cdf)


def test_the_gradient_is_accurate_in_float32():
    """To 1e-6 of the float64 gradient at the same quantile."""
    u = torch.tensor([1e-6, 0.2, 0.9, 0.9999], **DOUBLE)
    for kind, values in [(Gamma, (0.01, 1.0)), (Gamma, (3e4, 1.0)), (Beta, (300.0, 0.2))]:
        single = [torch.full((4,), v, requires_grad=True) for v in values]
        double = [v.detach().double().requires_grad_() for v in single]
        got, exact = (
            torch.autograd.grad(kind(*p).log_rsample((1,), Noise(uniforms=u[None])).sum(), p)
            for p in (single, double)
        )
        for g, e in zip(got, exact, strict=True):
            torch.testing.assert_close(g.double(), e, rtol=1e-6, atol=0)


@every_kind
def test_shapes_generators_and_keys(q_of):
    """A generator fixes the draw and leaves the global one alone; a row's key fixes the row."""
    p = torch.rand(4, 3, generator=seeded(3)) + 0.5
    q, before = q_of(p), torch.get_rng_state()
    x = q.rsample((5, 2), Noise(seeded(1)))
    assert x.shape == (5, 2, 4, 3)
    assert torch.equal(x, q.rsample((5, 2), Noise(seeded(1))))
    assert torch.equal(
        rp.Pathwise().draw(q, 2, generator=seeded(1)).points, q.rsample((2,), Noise(seeded(1)))
    )
    assert torch.equal(before, torch.get_rng_state())
    assert x.flatten().unique().numel() == x.numel()
    keys = torch.arange(4)
    rows = q.rsample((2,), Noise(key=keys))
    alone = q_of(p[2:3]).rsample((2,), Noise(key=keys[2:3]))
    assert torch.equal(rows[:, 2:3], alone)
    assert q.sample((2,)).shape == (2, 4, 3)
    assert not q_of(p.requires_grad_()).sample().requires_grad


@every_kind
def test_expanded_parameters_gather_their_gradients(q_of):
    """An expanded q has the samples of q in every row, and its gradient adds up over rows."""
    p = torch.tensor([0.4, 2.0, 5.0], **DOUBLE, requires_grad=True)
    u = torch.rand(2, 3, generator=seeded(0), **DOUBLE)
    x = q_of(p).rsample((2,), Noise(uniforms=u))
    batch = (6, *q_of(p).batch_shape)
    wide = q_of(p).expand(batch).rsample((2,), Noise(uniforms=u[:, None].expand(2, 6, 3)))
    assert wide.shape == (2, 6, 3)
    torch.testing.assert_close(wide[:, 4], x)
    cost = torch.arange(3.0)
    torch.testing.assert_close(
        torch.autograd.grad((wide * cost).sum(), p)[0],
        6 * torch.autograd.grad((x * cost).sum(), p)[0],
    )


@every_kind
def test_vmap_and_forward_mode(q_of):
    """Rows under vmap are rows of the batch, and jvp is the gradient's."""
    p = torch.tensor([[0.4, 2.0, 5.0], [1.0, 30.0, 0.1]], **DOUBLE)
    u = torch.rand(2, 1, 3, generator=seeded(0), **DOUBLE)

    def total(p, u):
        points = q_of(p, validate_args=False).rsample((1,), Noise(uniforms=u))
        return (points * torch.arange(3.0)).sum()

    rows = torch.func.vmap(torch.func.grad(total))(p, u)
    tangents = [
        torch.func.jvp(lambda a, v=v: total(a, v), (a,), (a,))[1] for a, v in zip(p, u, strict=True)
    ]
    for row, a, v, tangent in zip(rows, p, u, tangents, strict=True):
        leaf = a.clone().requires_grad_()
        torch.testing.assert_close(torch.autograd.grad(total(leaf, v), leaf)[0], row)
        torch.testing.assert_close((row * a).sum(), tangent)


def test_samples_of_given_noise_are_one_graph():
    """fullgraph, forward and backward, without the minute that inductor takes."""
    p, u = torch.tensor([0.4, 2.0, 50.0], requires_grad=True), torch.rand(2, 3)

    def sample(p):
        return Gamma(p, p, validate_args=False).rsample((2,), Noise(uniforms=u))

    compiled = torch.compile(sample, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(p), sample(p))
    torch.testing.assert_close(*(torch.autograd.grad(f(p).sum(), p)[0] for f in (compiled, sample)))


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which Dynamo reads
def test_a_graph_may_draw_points_without_a_gradient():
    """As scores do, of a distribution from outside that has one: in one graph, the same points."""
    a = torch.tensor([0.4, 2.0], **DOUBLE, requires_grad=True)
    q = Beta(a, a, validate_args=False)

    def points():
        with torch.no_grad():
            return q.rsample((2,), Noise(key=1))

    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(points, fullgraph=True, backend="eager")(), points())


@needs_compiler
def test_the_compiler_takes_native_samples():
    """fullgraph, by inductor, with the gradient that the compiled points have."""
    p = torch.tensor([0.4, 2.0, 50.0], **DOUBLE, requires_grad=True)
    compiled = torch.compile(
        lambda p: Gamma(p, p.detach(), validate_args=False).log_rsample((2,)), fullgraph=True
    )
    y = compiled(p)
    exact = gamma_slope(y.detach() + p.detach().log(), p.detach()).sum(0)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), p)[0], exact)


def test_they_are_torchs_but_for_their_samples():
    """Instances of torch's classes, with torch's densities, divergences and validation."""
    a, b = torch.tensor([0.5, 3.0]), torch.tensor([2.0, 1.0])
    for ours, theirs in [(Gamma, D.Gamma), (Beta, D.Beta), (StudentT, D.StudentT)]:
        q, p = ours(a, b), theirs(a, b)
        assert isinstance(q, theirs)
        x = q.rsample((7,))
        assert torch.equal(q.log_prob(x), p.log_prob(x))
        assert type(q.expand((3, 2))) is ours
        with pytest.raises(ValueError, match="to satisfy the constraint"):
            ours(-a, b, validate_args=True)
    assert torch.equal(
        D.kl_divergence(Gamma(a, b), Gamma(b, a)), D.kl_divergence(D.Gamma(a, b), D.Gamma(b, a))
    )
    with pytest.raises(ValueError, match=r"noise: expected uniforms of shape \(1, 2\)"):
        Gamma(a, b).rsample(noise=Noise(uniforms=torch.rand(3)))


def test_extreme_parameters_have_finite_samples_and_gradients():
    """From 1e-6 to 1e10, with either source of noise."""
    p = torch.tensor([1e-6, 1e-2, 1e4, 1e10], **DOUBLE, requires_grad=True)
    for q in (Gamma(p, 1 / p), Beta(p, p.flip(0)), StudentT(p), Dirichlet(p)):
        for noise in (Noise(seeded(0)), Noise(key=0)):
            x = q.rsample((50,), noise)
            assert x.isfinite().all()
            assert torch.autograd.grad(x.sum(), p, retain_graph=True)[0].isfinite().all()


def test_the_middle_uniform_is_the_centre_of_students_t():
    """At u = 1/2 exactly, with a gradient of 0 to df and 1 to loc."""
    df, loc = (torch.tensor(v, requires_grad=True) for v in (3.0, 0.7))
    t = StudentT(df, loc).rsample(noise=Noise(uniforms=torch.full((1,), 0.5)))
    assert t.item() == loc.item()
    assert [g.item() for g in torch.autograd.grad(t, (df, loc))] == [0, 1]
