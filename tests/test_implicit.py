"""rp.distributions.Implicit: a CDF is enough; of vectors, the chain of conditional ones."""

import pytest
import torch
from torch import distributions as D

import reparam as rp
from acceptance import needs_compiled_copies, needs_compiler, seeded
from reparam.distributions import (
    Beta,
    Implicit,
    InverseGaussian,
    MixtureSameFamily,
    StudentT,
    TruncatedNormal,
    VonMises,
    VonMisesFisher,
)
from reparam.noise import Noise

DOUBLE = {"dtype": torch.float64}


def chain(loc, raw):
    """The conditional CDFs of a normal of two dimensions, from its precision."""

    def cdfs(x):
        first = torch.special.ndtr((x[..., 0] - loc[..., 0]) / raw[..., 0].exp())
        shift = loc[..., 1] + raw[..., 1] * (x[..., 0] - loc[..., 0])
        return torch.stack([first, torch.special.ndtr(x[..., 1] - shift)], -1)

    return cdfs


def normal(loc, raw):
    """The same, as torch's."""
    rows = [
        [raw[0].exp(), torch.zeros_like(raw[0])],
        [raw[1] * raw[0].exp(), torch.ones_like(raw[0])],
    ]
    tril = torch.stack([torch.stack(row) for row in rows])
    return D.MultivariateNormal(loc, scale_tril=tril)


def test_a_chain_moves_as_the_reparameterized_normal():
    """x = loc + L eps at eps = Phi^-1(u): points, first and second derivatives."""
    loc = torch.tensor([0.3, -0.7], **DOUBLE, requires_grad=True)
    raw = torch.tensor([0.2, 1.3], **DOUBLE, requires_grad=True)
    u = torch.rand(5, 2, generator=seeded(0), **DOUBLE)

    def implicit(loc, raw):
        q = Implicit(normal(loc, raw), cdf=chain(loc, raw))
        return q.rsample((5,), Noise(uniforms=u))

    def explicit(loc, raw):
        return rp.Pathwise().draw(normal(loc, raw), 5, noise=u).points

    torch.testing.assert_close(implicit(loc, raw), explicit(loc, raw))
    for order in (torch.autograd.functional.jacobian, None):
        if order is not None:
            got, expected = (order(f, (loc, raw)) for f in (implicit, explicit))
        else:
            got, expected = (
                torch.autograd.functional.hessian(lambda *p, f=f: f(*p).sin().sum(), (loc, raw))
                for f in (implicit, explicit)
            )
        torch.testing.assert_close(got, expected)


def test_the_base_samples_where_no_noise_is_given():
    """Its own sampler, whatever its cdf; log_prob, support, mean, variance, entropy are its own."""
    base = D.Laplace(torch.tensor(0.5), torch.tensor(2.0))
    q = Implicit(base)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = q.rsample((3,))
        torch.manual_seed(0)
        assert torch.equal(x, base.sample((3,)))
    assert torch.equal(q.log_prob(x), base.log_prob(x))
    assert (q.mean, q.variance, q.entropy()) == (base.mean, base.variance, base.entropy())
    assert q.support is base.support
    assert q.expand((2, 3)).rsample((4,)).shape == (4, 2, 3)


def test_a_bare_cdf_gives_the_whole_distribution():
    """Batch shape, dtype, density, samples and gradients of an exponential, from its CDF."""
    rate = torch.tensor([0.5, 2.0, 8.0], **DOUBLE, requires_grad=True)
    q = Implicit(cdf=lambda x: -torch.expm1(-rate * x), support=D.constraints.positive)
    twin = D.Exponential(rate)
    assert q.batch_shape == (3,)
    x = q.rsample((100,), Noise(generator=seeded(0)))
    assert x.dtype == torch.float64
    torch.testing.assert_close(q.log_prob(x), twin.log_prob(x))
    torch.testing.assert_close(
        torch.autograd.grad(q.log_prob(x.detach()).sum(), rate),
        torch.autograd.grad(twin.log_prob(x.detach()).sum(), rate),
    )
    torch.testing.assert_close(
        torch.autograd.grad(x.sum(), rate)[0], -(x.detach() / rate.detach()).sum(0)
    )
    u = torch.tensor([1e-12, 0.3, 1 - 1e-9], **DOUBLE)
    torch.testing.assert_close(q.icdf(u), twin.icdf(u), rtol=1e-7, atol=0)
    with pytest.raises(NotImplementedError, match="mean: expected a base distribution"):
        _ = q.mean


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "expected a base distribution, a cdf, or both, got neither"),
        ({"base": D.StudentT(3.0)}, TypeError, "with a cdf, got StudentT"),
        ({"base": D.Dirichlet(torch.ones(3))}, TypeError, "pass cdf=, of a vector its conditional"),
        (
            {"base": D.Independent(D.Normal(torch.zeros(2, 2), 1.0), 2), "cdf": torch.sigmoid},
            TypeError,
            r"event of shape \(\) or \(d,\), got \(2, 2\)",
        ),
        (
            {"cdf": torch.sigmoid, "support": D.constraints.real_vector},
            ValueError,
            "support: expected that of a univariate cdf",
        ),
    ],
)
def test_what_cannot_be_made_implicit_is_refused(arguments, error, message):
    """The message says what to pass."""
    with pytest.raises(error, match=message):
        Implicit(**arguments)


COMPILED = {
    "implicit": lambda a, b: Implicit(D.Laplace(a, b)),
    "von Mises": VonMises,
    "von Mises-Fisher": lambda a, b: VonMisesFisher(torch.stack([a.cos(), a.sin()], -1), b),
    "truncated normal": lambda a, b: TruncatedNormal(a, b, -1.0, float("inf")),
    "inverse Gaussian": InverseGaussian,
    "mixture": lambda a, b: MixtureSameFamily(
        D.Categorical(logits=torch.stack([a, b], -1)), D.Normal(torch.stack([a, b], -1), b)
    ),
    "mixture of vectors": lambda a, b: MixtureSameFamily(
        D.Categorical(logits=torch.stack([a, b], -1)),
        D.MultivariateNormal(
            torch.stack([a, b, -a, b], -1).view(2, 2), scale_tril=b * torch.eye(2).expand(2, 2, 2)
        ),
    ),
}


COPYING = ("implicit", "mixture", "mixture of vectors")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=needs_compiled_copies) if n in COPYING else n for n in COMPILED],
)
def test_the_whole_graph_compiles(name):
    """One graph, of which points and gradients are those of eager mode at the same key."""
    a, b = (torch.tensor(v, requires_grad=True) for v in (0.3, 2.0))

    def draw(a, b):
        return COMPILED[name](a, b).rsample((3,), Noise(key=5))

    eager = draw(a, b)
    compiled = torch.compile(draw, fullgraph=True, backend="aot_eager")(a, b)
    torch.testing.assert_close(compiled, eager, rtol=1e-5, atol=1e-5)
    for got, expected in zip(
        torch.autograd.grad(compiled.sin().sum(), [a, b]),
        torch.autograd.grad(eager.sin().sum(), [a, b]),
        strict=True,
    ):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@needs_compiler
@needs_compiled_copies
def test_a_mixture_compiles_to_machine_code():
    """By inductor, from the global generator: the law of its weights holds, at 1e-7."""
    logits = torch.tensor([0.0, 1.0], requires_grad=True)
    loc = torch.tensor([-50.0, 50.0])

    @torch.compile(fullgraph=True)
    def draw(logits):
        return MixtureSameFamily(D.Categorical(logits=logits), D.Normal(loc, 1.0)).rsample((4000,))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = draw(logits)
    share = torch.sigmoid(torch.tensor(1.0)).item()
    assert abs((x > 0).double().mean() - share) < 5.4 * (share * (1 - share) / 4000) ** 0.5
    assert torch.autograd.grad(x.sum(), logits)[0].isfinite().all()


@pytest.mark.parametrize("kind", [Beta, InverseGaussian, StudentT])
def test_compiles_where_no_parameter_learns(kind):
    """The same key gives the same samples, eager and compiled, without a gradient to attach."""
    parameters = torch.full((3,), 2.0), torch.full((3,), 1.5)

    def draw():
        return kind(*parameters, validate_args=False).rsample((2,), noise=Noise(key=0))

    torch._dynamo.reset()
    compiled = torch.compile(draw, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(), draw())
