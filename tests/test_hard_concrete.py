"""Hard concrete gates: their masses, density, gradient and penalty against closed forms."""

import math
import re

import pytest
import torch
from torch import Tensor

from acceptance import assert_counts, assert_follows, seeded
from reparam.functional import hard_concrete, hard_concrete_eval, hard_concrete_l0
from reparam.kernels import hard_concrete as kernels

EVERY = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
every_dtype = pytest.mark.parametrize("dtype", EVERY, ids=str)
SHAPES = [(2 / 3, -0.1, 1.1), (0.3, -0.5, 1.2), (1.0, -0.2, 1.5)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
both_sizes = pytest.mark.parametrize("n", [30, kernels.SMALLEST + 1])
INF, NAN = math.inf, math.nan


def cdf(z: Tensor, logit: float, tau: float, gamma: float, zeta: float) -> Tensor:
    """P(Z <= z) of the stretched gate before its clamp, z in (gamma, zeta)."""
    s = (torch.as_tensor(z, dtype=torch.float64) - gamma) / (zeta - gamma)
    return torch.sigmoid(tau * torch.logit(s) - logit)


def gates(logit: float, shape: tuple[float, float, float], way: str) -> Tensor:
    """100,000 gates in chunks, by the plain formula in float64, or from a key."""
    dtype = torch.float64 if way == "plain" else torch.float32
    source = {"key": 5} if way == "keyed" else {"generator": seeded(5)}
    return hard_concrete(torch.full((100_000,), logit, dtype=dtype), *shape, **source)


@every_shape
@pytest.mark.parametrize("way", ["chunks", "plain", "keyed"])
@pytest.mark.parametrize("logit", [-1.0, 0.7])
def test_the_law_is_the_closed_form(shape, way, logit):
    """Masses at 0, between and at 1 by chi-square, the density between by Kolmogorov-Smirnov.

    False fail 2e-7 together. A mass wrong by .02, a CDF by .02 between, pass at 1e-7.
    """
    z = gates(logit, shape, way)
    closed, upto_one = (cdf(torch.tensor(end), logit, *shape).item() for end in (0.0, 1.0))
    between = z[(z > 0) & (z < 1)]
    counts = torch.tensor([(z == 0).sum(), len(between), (z == 1).sum()])
    assert_counts(counts, torch.tensor([closed, upto_one - closed, 1 - upto_one]))
    inside = upto_one - closed
    assert_follows(between, lambda x: (cdf(x, logit, *shape).numpy() - closed) / inside)


@every_shape
@both_sizes
def test_the_gradient_is_the_formula_of_the_gate(shape, n):
    """(z - gamma)(zeta - z) / ((zeta - gamma) tau) between 0 and 1, and zero at both ends."""
    tau, gamma, zeta = shape
    logits = torch.randn(n, generator=seeded(0)).requires_grad_()
    weight = torch.randn(n, generator=seeded(1))
    z = hard_concrete(logits, *shape, generator=seeded(2))
    assert (z == 0).any()
    assert (z == 1).any()
    inside = (z > 0) & (z < 1)
    slope = inside * (z - gamma) * (zeta - z) / ((zeta - gamma) * tau)
    (got,) = torch.autograd.grad(z, logits, weight, retain_graph=True)
    torch.testing.assert_close(got, (slope * weight).detach(), rtol=1e-5, atol=1e-6)
    (first,) = torch.autograd.grad(z, logits, weight, create_graph=True)
    torch.testing.assert_close(first, got, rtol=1e-5, atol=1e-6)
    (second,) = torch.autograd.grad(first.sum(), logits)
    bend = slope * (gamma + zeta - 2 * z) / ((zeta - gamma) * tau)
    torch.testing.assert_close(second, (bend * weight).detach(), rtol=1e-4, atol=1e-4)


@every_shape
def test_the_penalty_is_the_probability_of_an_open_gate(shape):
    """1 - P(Z <= 0), the closed form, to float64's precision, also far out; gradcheck too."""
    for logit in (-30.0, -2.0, 0.0, 3.0):
        got = hard_concrete_l0(torch.tensor([logit], dtype=torch.float64), *shape)
        s = -shape[1] / (shape[2] - shape[1])
        odds = math.exp(logit) * (s / (1 - s)) ** -shape[0]
        torch.testing.assert_close(got.item(), odds / (1 + odds), rtol=1e-12, atol=0)
    logits = torch.randn(4, generator=seeded(0), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: hard_concrete_l0(x, *shape), (logits,))


@every_shape
def test_the_gates_of_evaluation(shape):
    """clamp(sigmoid(logits) (zeta - gamma) + gamma, 0, 1), of any dtype."""
    _, gamma, zeta = shape
    logits = torch.linspace(-6, 6, 50, dtype=torch.float64)
    expected = (torch.sigmoid(logits) * (zeta - gamma) + gamma).clamp(0, 1)
    torch.testing.assert_close(hard_concrete_eval(logits, gamma, zeta), expected)
    half = logits.half()
    wide = (torch.sigmoid(half.double()) * (zeta - gamma) + gamma).clamp(0, 1)
    torch.testing.assert_close(hard_concrete_eval(half, gamma, zeta), wide.half())
    assert hard_concrete_l0(half, *shape).dtype == torch.float16


@every_dtype
@both_sizes
def test_extreme_logits_are_sure_and_finite(dtype, n):
    """+-1e4 and +-inf give 0 and 1 with zero gradient, in every dtype and at tiny tau."""
    ends = torch.tensor([-1e4, 1e4, -INF, INF])
    logits = ends.repeat(n).to(dtype).requires_grad_()
    for tau in (2 / 3, 1e-4, 1e-38):
        z = hard_concrete(logits, tau)
        assert z.dtype == dtype
        assert torch.equal(z, torch.tensor([0.0, 1, 0, 1]).repeat(n).to(dtype))
        assert (torch.autograd.grad(z.sum(), logits)[0] == 0).all()
    assert hard_concrete_l0(ends.to(dtype)).tolist() == [0, 1, 0, 1]


@every_dtype
def test_half_precision_is_cast_once(dtype):
    """The gates of float32, rounded at the end."""
    logits = torch.randn(3000, generator=seeded(0)).to(dtype)
    expected = hard_concrete(logits.to(torch.promote_types(dtype, torch.float32)), key=1)
    assert torch.equal(hard_concrete(logits, key=1), expected.to(dtype))
    if dtype != torch.float64:
        expected = hard_concrete(logits.float(), generator=seeded(1)).to(dtype)
        assert torch.equal(hard_concrete(logits, generator=seeded(1)), expected)


@pytest.mark.parametrize(
    ("word", "expected"),
    [(0, 0.0), (-1, 0.0), (2**31 - 1, 22.873856), (-(2**31), -22.873856), (2**31 - 2, 21.775244)],
)
def test_the_last_integers_reach_the_tail(word, expected, monkeypatch):
    """Both ends are finite and symmetric; neighbours there are far apart, and kept apart."""
    both = (word << 32) | (word & (2**32 - 1))
    monkeypatch.setattr(torch.Tensor, "random_", lambda self, *_, **__: self.fill_(both))
    got = kernels._logistic_(torch.empty(3), torch.empty(0, dtype=torch.int64), None)
    torch.testing.assert_close(got, torch.full((3,), expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 5, kernels.CHUNK + 1])
def test_every_gate_has_noise_of_its_own(n):
    """Any number of gates, in any shape and order in memory: no two alike."""
    z = kernels.hard_concrete(torch.zeros(n), 5.0, -0.1, 1.1, seeded(0))
    assert z.shape == (n,)
    assert z.unique().numel() > 0.99 * n - 1
    logits = torch.zeros(60, 50).T
    logits[3] = 1e4
    z = hard_concrete(logits, generator=seeded(0))
    assert z.shape == (50, 60)
    assert (z[3] == 1).all()
    assert z[4].unique().numel() > 10


@both_sizes
def test_keys_and_generators(n):
    """A row's gates depend on its own key; a generator spares the global one."""
    logits, keys, before = torch.zeros(n, 4), torch.arange(n), torch.get_rng_state()
    z = hard_concrete(logits, key=keys)
    assert torch.equal(hard_concrete(logits[3:5], key=keys[3:5]), z[3:5])
    assert not torch.equal(z[3], z[4])
    first, again, other = (hard_concrete(logits, generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_gates_compile_and_vectorize():
    """One graph, equal to eager for a key; per-sample gradients under vmap."""
    logits = torch.randn(5, 4, generator=seeded(0)).requires_grad_()
    torch._dynamo.reset()
    traced = torch.compile(lambda x: hard_concrete(x, key=1), backend="aot_eager", fullgraph=True)(
        logits
    )
    eager = hard_concrete(logits, key=1)
    torch.testing.assert_close(traced, eager)
    got, expected = (torch.autograd.grad(z.sum(), logits)[0] for z in (traced, eager))
    torch.testing.assert_close(got, expected)
    rows = torch.vmap(
        torch.func.grad_and_value(lambda x: hard_concrete(x).sum()), randomness="different"
    )(torch.zeros(200, 3))
    assert rows[1].unique().numel() > 100
    assert rows[0].isfinite().all()


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(low):
    """The gates and the penalty stay in the logits' own float32."""
    logits, results = torch.randn(3000, generator=seeded(0)), []
    for enabled in (False, True):
        with torch.autocast("cpu", low, enabled=enabled):
            results.append((hard_concrete(logits, generator=seeded(1)), hard_concrete_l0(logits)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("function", [hard_concrete, hard_concrete_l0, hard_concrete_eval])
def test_wrong_intervals_are_refused(function):
    """By each that takes the parameter, with what is usual."""
    for gamma in (0.0, NAN, -INF):
        with pytest.raises(ValueError, match=f"gamma: expected a number < 0, .* got {gamma}; -0.1"):
            function(torch.zeros(3), gamma=gamma)
    for zeta in (1.0, NAN, INF):
        with pytest.raises(ValueError, match=f"zeta: expected a number > 1, .* got {zeta}; 1.1"):
            function(torch.zeros(3), zeta=zeta)


@pytest.mark.parametrize("function", [hard_concrete, hard_concrete_l0])
@pytest.mark.parametrize("tau", [0.0, -1.0, NAN, INF])
def test_wrong_temperatures_are_refused(function, tau):
    """Zero included: such gates would have no gradient."""
    with pytest.raises(ValueError, match=f"tau: expected a temperature > 0, got {tau}; 2/3"):
        function(torch.zeros(3), tau)


def test_wrong_logits_are_refused():
    """NaN is counted; integers are no logits."""
    bad = torch.tensor([0.0, NAN, NAN])
    with pytest.raises(ValueError, match=re.escape("got 2 NaN among 3 of shape (3,)")):
        hard_concrete(bad)
    assert hard_concrete(bad, validate=False)[1:].isnan().all()
    assert hard_concrete(torch.tensor([INF, -INF])).tolist() == [1, 0]
    for function in (hard_concrete, hard_concrete_l0, hard_concrete_eval):
        with pytest.raises(TypeError, match="logits: expected a real floating-point"):
            function(torch.zeros(3).int())
