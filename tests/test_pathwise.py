"""Continuous reparameterizations: quantiles, gradients by quadrature, laws, shapes, refusals."""

import re

import mpmath as mp
import pytest
import torch
from torch import Tensor
from torch import distributions as D

import reparam as rp
from acceptance import assert_follows, seeded
from continuous_cases import CASES, COSTS
from reparam import distributions as R
from reparam.families import sample
from reparam.noise import Noise

every_case = pytest.mark.parametrize("name", CASES)
t = torch.arange(-8, 8.005, 0.01, dtype=torch.float64)
u = torch.special.ndtr(t)
weights = torch.exp(-t.square() / 2) * 0.01 / (2 * torch.pi) ** 0.5


def points_of(q: D.Distribution, noise: Tensor) -> Tensor:
    """Pathwise points at given uniforms, one per row of the noise."""
    return rp.Pathwise().draw(q, len(noise), noise=noise).points


@every_case
def test_given_uniforms_come_out_as_the_quantiles_of_q(name):
    """To 1e-10, from 1e-9 to 1 - 1e-9, against scipy."""
    case = CASES[name]
    law, inner = case.law(*case.params), u[t.abs() < 6]
    # scipy loses digits in the upper tail of some ppf; its isf keeps them, and 1 - u is exact.
    expected = torch.where(
        inner < 0.5,
        torch.as_tensor(law.ppf(inner.numpy())),
        torch.as_tensor(law.isf((1 - inner).numpy())),
    )
    torch.testing.assert_close(points_of(case.q()[0], inner), expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("name", "cost"), [(name, cost) for name, case in CASES.items() for cost in case.truths]
)
def test_values_and_gradients_are_those_of_the_expectation(name, cost):
    """A trapezoid rule in t, u = Phi(t), exact to 1e-9, against the closed form and mpmath."""
    case = CASES[name]
    q, leaves = case.q()
    value = weights @ COSTS[cost](points_of(q, u))
    truth = case.truths[cost]
    at = tuple(mp.mpf(p) for p in case.params)
    assert value.item() == pytest.approx(float(truth(*at)), rel=1e-9, abs=1e-9)
    gradients = torch.autograd.grad(value, leaves, allow_unused=True)
    for i, gradient in enumerate(gradients):
        order = tuple(int(i == j) for j in range(len(at)))
        exact = float(mp.diff(truth, at, order))
        got = 0.0 if gradient is None else gradient.item()
        assert got == pytest.approx(exact, rel=1e-8, abs=1e-8)


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_native_samples_follow_the_law(name, dtype):
    """KS, 2e5 draws: false fail 1e-7; a CDF wrong by .0130 (a scale by 6 %) passes at 1e-7."""
    case = CASES[name]
    q, _ = case.q(dtype)
    points = rp.Pathwise().draw(q, 200_000, generator=seeded(1)).points
    assert points.dtype == dtype
    assert points.requires_grad
    assert_follows(points, case.law(*case.params).cdf)


@every_case
def test_batches_broadcast_and_expand(name):
    """An expanded q has the quantiles of q in every row, and its gradient adds up over rows."""
    q, leaves = CASES[name].q()
    noise = torch.rand(5, 2, 3, generator=seeded(0), dtype=torch.float64)
    points = points_of(q.expand((2, 3)), noise)
    assert points.shape == (5, 2, 3)
    alone = points_of(q, noise.flatten())
    torch.testing.assert_close(points.flatten(), alone)
    for got, expected in zip(
        torch.autograd.grad(points.sum(), leaves),
        torch.autograd.grad(alone.sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(got, expected)


@every_case
def test_rows_of_an_expanded_q_are_drawn_independently(name):
    """And a generator fixes them without touching the global one."""
    q, before = CASES[name].q()[0].expand((4,)), torch.get_rng_state()
    points = rp.Pathwise().draw(q, 3, generator=seeded(0)).points
    assert points.unique().numel() == 12
    assert torch.equal(points, rp.Pathwise().draw(q, 3, generator=seeded(0)).points)
    assert torch.equal(before, torch.get_rng_state())


def test_parameters_broadcast_against_each_other():
    """loc of (3, 1) and scale of (2,) make a batch of (3, 2)."""
    loc = torch.zeros(3, 1, dtype=torch.float64, requires_grad=True)
    scale = torch.ones(2, dtype=torch.float64, requires_grad=True)
    noise = torch.rand(7, 3, 2, generator=seeded(0), dtype=torch.float64)
    points = points_of(D.Normal(loc, scale), noise)
    points.sum().backward()
    torch.testing.assert_close(points, torch.special.ndtri(noise))
    assert torch.equal(loc.grad, torch.full((3, 1), 14.0).double())
    torch.testing.assert_close(scale.grad, torch.special.ndtri(noise).sum((0, 1)))


@every_case
def test_float32_parameters_take_float64_noise(name):
    """Points come in q's dtype, the noise having kept its tail until then."""
    noise = torch.special.ndtr(torch.linspace(-5, 5, 11, dtype=torch.float64))
    points = points_of(CASES[name].q(torch.float32)[0], noise)
    assert points.dtype == torch.float32
    torch.testing.assert_close(
        points.double(), points_of(CASES[name].q()[0], noise), rtol=1e-5, atol=1e-5
    )


FALLBACKS = {
    "Gamma": lambda p: D.Gamma(p, 1.0),
    "Beta": lambda p: D.Beta(p, 2.0),
    "Dirichlet": lambda p: D.Dirichlet(p * torch.ones(3)),
    "StudentT": lambda p: D.StudentT(4.0, p),
    "InverseGamma": lambda p: D.InverseGamma(p, 1.0),
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_torchs_own_samplers_serve_the_rest(name):
    """With a gradient, a generator that fixes them, and the global generator untouched."""
    parameter = torch.tensor(1.5, requires_grad=True)
    q, before, generator = FALLBACKS[name](parameter), torch.get_rng_state(), seeded(1)
    points = rp.Pathwise().draw(q, 6, generator=generator).points
    assert points.shape == (6, *q.event_shape)
    assert torch.equal(points, rp.Pathwise().draw(q, 6, generator=seeded(1)).points)
    assert not torch.equal(points, rp.Pathwise().draw(q, 6, generator=generator).points)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.autograd.grad(points.square().sum(), parameter)[0].abs() > 0


@pytest.mark.parametrize("name", FALLBACKS)
def test_torchs_own_samplers_refuse_given_noise(name):
    """The message says what to pass instead."""
    q = FALLBACKS[name](torch.tensor(1.5))
    message = r"noise: expected a distribution with a map from uniforms.*pass generator= instead"
    with pytest.raises(TypeError, match=message):
        points_of(q, torch.full((2, *q.event_shape), 0.5))


@pytest.mark.parametrize(
    ("q", "name"),
    [
        (D.Bernoulli(0.5), "Bernoulli"),
        (D.OneHotCategorical(torch.ones(3)), "OneHotCategorical"),
        (D.Poisson(2.0), "Poisson"),
        (D.VonMises(0.0, 1.0), "VonMises"),
        (D.Independent(D.Bernoulli(torch.ones(2) / 2), 1), "Bernoulli"),
    ],
)
def test_what_cannot_be_differentiated_is_refused(q, name):
    """The message names the type and the estimators that serve it."""
    message = re.escape(f"whose samples can be differentiated, got {name}; use 'score' or 'rloo'")
    with pytest.raises(TypeError, match=message):
        rp.Pathwise().draw(q)


STRAIGHT = [
    R.RelaxedBernoulliStraightThrough(0.5, logits=torch.zeros(2)),
    R.RelaxedOneHotCategoricalStraightThrough(0.5, logits=torch.zeros(3)),
    R.RelaxedCountStraightThrough(0.5, D.Poisson(torch.ones(2))),
]
STRAIGHT += [D.Independent(STRAIGHT[0], 1)]
STRAIGHT += [D.TransformedDistribution(STRAIGHT[2], [D.AffineTransform(0.0, 2.0)])]


@pytest.mark.parametrize("q", STRAIGHT, ids=lambda q: type(q).__name__)
def test_the_librarys_straight_through_is_refused(q):
    """Its gradient is biased; the message says whose is. Score functions take it all the same."""
    message = "whose samples have an unbiased gradient, got .*'straight-through-gumbel-softmax'"
    with pytest.raises(TypeError, match=message):
        rp.Pathwise().draw(q)
    assert sample(q, 2, Noise(seeded(0))).shape == (2, *q.batch_shape, *q.event_shape)


def test_torch_straight_through_is_refused():
    """torch's straight-through one-hot has a biased rsample: it is discrete, and refused."""
    q = torch.distributions.OneHotCategoricalStraightThrough(logits=torch.zeros(3))
    with pytest.raises(TypeError, match="q: expected a distribution whose samples"):
        rp.Pathwise().draw(q)
