"""rp.distributions.HardConcrete: its masses, density, moments and gradients, by quadrature."""

import math
import re

import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from torch import Tensor
from torch.distributions import Independent

import reparam as rp
from acceptance import seeded
from reparam.distributions import HardConcrete
from reparam.functional import hard_concrete_eval
from reparam.special.quadrature import RULE

INF, NAN = math.inf, math.nan
SHAPES = [(2 / 3, -0.1, 1.1), (0.3, -0.5, 1.2), (1.0, -1e-3, 1.5), (8.0, -0.1, 1.1)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
every_logit = pytest.mark.parametrize("logit", [-9.0, -1.0, 0.7, 12.0])
EVERY = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
every_dtype = pytest.mark.parametrize("dtype", EVERY, ids=str)
COSTS = {"z": lambda z: z, "z^2": torch.square, "sin z": torch.sin}


def double(value: float) -> Tensor:
    """A leaf."""
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def survival(z: float, logit: float, shape: tuple[float, float, float]) -> float:
    """P(Z > z) of the gate, z in [0, 1), by scipy's logistic."""
    tau, gamma, zeta = shape
    return stats.logistic.sf(tau * math.log((z - gamma) / (zeta - z)) - logit)


def moment(k: int, logit: float, shape: tuple[float, float, float]) -> float:
    """E[z^k], the integral of k z^(k - 1) P(Z > z), by scipy."""
    integrand = lambda z: k * z ** (k - 1) * survival(z, logit, shape)  # noqa: E731
    return quad(integrand, 0, 1, epsabs=1e-14, limit=200)[0]


@every_shape
@every_logit
def test_masses_and_cdf_are_those_of_the_logistic(shape, logit):
    """At both ends, between and outside; the penalty is 1 - P(z = 0)."""
    q = HardConcrete(double(logit), *shape)
    closed = 1 - survival(0, logit, shape)
    assert q.mass_at_zero.item() == pytest.approx(closed, rel=1e-9)
    assert q.l0.item() == pytest.approx(survival(0, logit, shape), rel=1e-12)
    assert q.mass_at_one.item() == pytest.approx(survival(1, logit, shape), rel=1e-12)
    z = torch.tensor([-0.1, 0, 0.2, 0.9, 1, 1.1], dtype=torch.float64)
    expected = [0, *(1 - survival(x, logit, shape) for x in (0, 0.2, 0.9)), 1, 1]
    unchecked = HardConcrete(double(logit), *shape, validate_args=False)
    assert unchecked.cdf(z).tolist() == pytest.approx(expected, rel=1e-9)
    assert unchecked.log_prob(z[[0, 5]]).tolist() == [-INF, -INF]


@every_shape
@every_logit
def test_log_prob_is_that_of_two_masses_and_a_density(shape, logit):
    """The masses at 0 and 1, the slope of the CDF between; their sum is 1."""
    q = HardConcrete(double(logit), *shape)
    ends = q.log_prob(torch.tensor([0.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(ends.exp(), torch.stack([q.mass_at_zero, q.mass_at_one]))
    z, weights = inner_nodes()
    torch.testing.assert_close(q.log_prob(z).exp(), slope(q.cdf, z), rtol=1e-9, atol=1e-13)
    total = weights @ q.log_prob(z).exp() + ends.exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-12)


@every_shape
@every_logit
def test_moments_are_those_of_the_law(shape, logit):
    """Mean and variance by scipy, to 1e-13; the entropy by the density, to 1e-10."""
    q = HardConcrete(double(logit), *shape)
    mean, square = (moment(k, logit, shape) for k in (1, 2))
    assert q.mean.item() == pytest.approx(mean, abs=1e-13)
    assert q.variance.item() == pytest.approx(square - mean * mean, abs=1e-13)
    z, weights = inner_nodes()
    log_p = q.log_prob(z)
    between = weights @ (log_p.exp() * log_p)
    masses = torch.special.entr(torch.stack([q.mass_at_zero, q.mass_at_one])).sum()
    torch.testing.assert_close(q.entropy(), masses - between, rtol=1e-10, atol=1e-12)


@every_shape
def test_the_mirror_image_has_mirrored_moments(shape):
    """1 - z has interval (1 - zeta, 1 - gamma): an open gate's variance keeps all its digits."""
    tau, gamma, zeta = shape
    logits = torch.tensor([-30.0, -2.0, 0.5, 9.0, 30.0], dtype=torch.float64)
    q, mirror = HardConcrete(logits, *shape), HardConcrete(-logits, tau, 1 - zeta, 1 - gamma)
    torch.testing.assert_close(q.mean + mirror.mean, torch.ones_like(logits), rtol=0, atol=1e-15)
    torch.testing.assert_close(q.variance, mirror.variance, rtol=1e-9, atol=0)
    torch.testing.assert_close(q.entropy(), mirror.entropy(), rtol=1e-9, atol=0)
    torch.testing.assert_close(q.mass_at_one, mirror.mass_at_zero, rtol=1e-9, atol=0)


@every_shape
@every_logit
@pytest.mark.parametrize("cost", COSTS)
def test_both_gradients_are_those_of_the_expectation(shape, logit, cost):
    """E[f(z)] = f(0) + the integral of f'(z) P(Z > z): pathwise, and by the score with masses."""
    f, leaf = COSTS[cost], double(logit)
    q, (z, weights) = HardConcrete(leaf, *shape), inner_nodes()
    expected = slope(weights @ (slope(f, z) * (1 - q.cdf(z))), leaf)
    masses = torch.stack([q.mass_at_zero, q.mass_at_one])
    score = (weights * f(z)) @ q.log_prob(z).exp() + masses @ f(torch.tensor([0.0, 1.0]).double())
    torch.testing.assert_close(slope(score, leaf), expected, rtol=1e-9, atol=1e-13)
    # Given uniforms are quantiles, which move between the levels of the two ends alone.
    low, high = (p.logit().item() for p in (masses[0], 1 - masses[1]))
    t, weights = nodes(low, high)
    logits = torch.full_like(t, logit, requires_grad=True)
    points = rp.Pathwise().draw(HardConcrete(logits, *shape), 1, noise=t.sigmoid()[None]).points
    density = torch.sigmoid(t) * torch.sigmoid(-t)
    got = (weights * density) @ slope(f(points).sum(), logits)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-9)
    for end in (low - 0.1, high + 0.1):
        u = torch.tensor([end], dtype=torch.float64).sigmoid()
        assert slope(rp.Pathwise().draw(q, 1, noise=u).points, leaf) == 0


def nodes(low: float, high: float, panels: int = 20) -> tuple[Tensor, Tensor]:
    """Points of (low, high) and their weights."""
    step = (high - low) / panels
    starts = low + step * torch.arange(panels, dtype=torch.float64)
    points = torch.stack([starts + step * node for node, _ in RULE], -1)
    weights = torch.tensor([step * weight for _, weight in RULE], dtype=torch.float64)
    return points.flatten(), weights.expand_as(points).flatten()


def inner_nodes() -> tuple[Tensor, Tensor]:
    """Points of (0, 1) and their weights, dense at both ends, near which densities have poles."""
    t, weights = nodes(0.0, 1.0)
    return t * t * (3 - 2 * t), weights * 6 * t * (1 - t)


def slope(value, leaf: Tensor) -> Tensor:
    """The gradient of a value, or the slopes of a function at many points."""
    if callable(value):
        leaf = leaf.clone().requires_grad_()
        value = value(leaf).sum()
    return torch.autograd.grad(value, leaf)[0]


@every_shape
def test_given_uniforms_come_out_as_quantiles(shape):
    """And icdf gives the same; cdf takes them back between the ends."""
    logits = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64)
    q, u = HardConcrete(logits, *shape), torch.linspace(0.001, 0.999, 99).double()
    u = u.unsqueeze(-1).expand(-1, 3)
    z = rp.Pathwise().draw(q, 99, noise=u).points
    torch.testing.assert_close(q.icdf(u), z, rtol=1e-13, atol=1e-14)
    inside = (z > 0) & (z < 1)
    torch.testing.assert_close(q.cdf(z)[inside], u[inside], rtol=1e-11, atol=1e-12)
    assert torch.equal(z == 0, u <= q.mass_at_zero)
    assert torch.equal(z == 1, u >= 1 - q.mass_at_one)
    assert q.icdf(torch.tensor(0.0)).tolist() == [0, 0, 0]
    assert q.icdf(torch.tensor(1.0)).tolist() == [1, 1, 1]


@every_shape
def test_derivatives_are_exact(shape):
    """Of samples, densities and moments in the logits, twice; of the density in z."""
    logits = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    u = torch.tensor([[0.45, 0.5, 0.4]], dtype=torch.float64)
    z = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64, requires_grad=True)

    def values(logits: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        q = HardConcrete(logits, *shape)
        points = rp.Pathwise().draw(q, 1, noise=u).points
        return points, q.log_prob(z), q.mean, q.variance, q.entropy()

    assert torch.autograd.gradcheck(values, (logits, z))
    assert torch.autograd.gradgradcheck(values, (logits, z))


@every_dtype
def test_extreme_logits_are_finite(dtype):
    """At +-1e4 and infinity samples, their densities, moments and all gradients are finite."""
    logits = torch.tensor([-1e4, 1e4, -INF, INF, -30, 30], dtype=dtype, requires_grad=True)
    q = HardConcrete(logits)
    z = q.rsample((50,))
    assert z.dtype == dtype
    assert torch.equal(z[:, :4], torch.tensor([0.0, 1, 0, 1], dtype=dtype).expand(50, 4))
    values = [z, q.log_prob(z.detach()), q.mean, q.variance, q.entropy(), q.l0, q.cdf(z.detach())]
    assert q.mean[:4].tolist() == [0, 1, 0, 1]
    assert q.variance[:4].tolist() == q.entropy()[:4].tolist() == [0, 0, 0, 0]
    for value in values:
        assert value.isfinite().all()
        assert slope(value.sum(), logits).isfinite().all()


@every_dtype
def test_half_precision_holds_points_alone(dtype):
    """Points are float32's, rounded once; probabilities and moments stay float32's."""
    wide = torch.promote_types(dtype, torch.float32)
    logits = torch.tensor([-1.5, 0.25, 2.0], dtype=dtype)
    q, reference = HardConcrete(logits), HardConcrete(logits.to(wide))
    z = rp.Pathwise().draw(q, 30, key=1).points
    assert torch.equal(z, rp.Pathwise().draw(reference, 30, key=1).points.to(dtype))
    for got, expected in [
        (q.log_prob(z), reference.log_prob(z.to(wide))),
        (q.cdf(z), reference.cdf(z.to(wide))),
        (q.mean, reference.mean),
        (q.variance, reference.variance),
        (q.entropy(), reference.entropy()),
        (q.l0, reference.l0),
        (q.mass_at_one, reference.mass_at_one),
    ]:
        assert got.dtype == wide
        assert torch.equal(got, expected)


def test_every_gate_has_noise_of_its_own():
    """In each sample, row and gate: none are shared, and expanded ones are drawn anew."""
    q = HardConcrete(0.0, tau=8.0).expand((3, 2))
    z = q.rsample((4,))
    assert z.shape == (4, 3, 2)
    assert z.unique().numel() == 24
    assert q.log_prob(z).shape == (4, 3, 2)
    assert (q.tau, q.gamma, q.zeta) == (8.0, -0.1, 1.1)
    keyed = rp.Pathwise().draw(Independent(q, 1), 4, key=torch.arange(3)).points
    alone = rp.Pathwise().draw(Independent(q.expand((3, 2)), 1), 4, key=torch.arange(3)).points
    assert torch.equal(keyed, alone)
    assert keyed.unique().numel() == 24
    before = torch.get_rng_state()
    one, same = (rp.Pathwise().draw(q, 1, generator=seeded(0)).points for _ in range(2))
    assert torch.equal(one, same)
    assert torch.equal(before, torch.get_rng_state())


def test_the_gate_of_evaluation_is_stretched_and_not_the_mean():
    """clamp(sigmoid(logits) (zeta - gamma) + gamma, 0, 1)."""
    logits = torch.linspace(-4, 4, 9)
    q = HardConcrete(logits)
    assert torch.equal(q.evaluation_gate, hard_concrete_eval(logits))
    assert (q.evaluation_gate == 0).sum() == (q.evaluation_gate == 1).sum() == 2
    assert (q.evaluation_gate - q.mean).abs().max() > 0.01


def test_it_compiles_and_vectorizes():
    """Values and gradients whole under the compiler; per-row gradients under vmap."""
    logits = torch.randn(5, generator=seeded(0)).requires_grad_()

    def values(logits: Tensor) -> tuple[Tensor, ...]:
        q = HardConcrete(logits, validate_args=False)
        z = rp.Pathwise().draw(q, 2, key=1).points
        return z, q.log_prob(z.detach()), q.mean, q.variance, q.entropy()

    torch._dynamo.reset()
    compiled = torch.compile(values, backend="aot_eager", fullgraph=True)(logits)
    for got, expected in zip(compiled, values(logits), strict=True):
        torch.testing.assert_close(got, expected)
    total, again = (sum(v.sum() for v in result) for result in (compiled, values(logits)))
    torch.testing.assert_close(slope(total, logits), slope(again, logits))
    rows = torch.vmap(torch.func.grad(lambda x: sum(v.sum() for v in values(x))))(logits[:, None])
    assert rows.isfinite().all()


def test_wrong_arguments_are_refused():
    """Logits, interval, temperature and values, each by its name."""
    with pytest.raises(TypeError, match="logits: expected a real floating-point tensor, got torch"):
        HardConcrete(torch.zeros(3).int())
    with pytest.raises(ValueError, match=r"parameter logits .* to satisfy the constraint"):
        HardConcrete(torch.tensor(NAN), validate_args=True)
    with pytest.raises(ValueError, match=re.escape("tau: expected a temperature > 0, got 0")):
        HardConcrete(0.0, tau=0)
    with pytest.raises(ValueError, match="gamma: expected a number < 0, so that gates can close"):
        HardConcrete(0.0, gamma=0.1)
    with pytest.raises(ValueError, match="zeta: expected a number > 1, so that gates can open"):
        HardConcrete(0.0, zeta=1.0)
    q = HardConcrete(0.0, validate_args=True)
    for value in (-0.1, 1.1, NAN):
        for function in (q.log_prob, q.cdf):
            with pytest.raises(ValueError, match="within the support"):
                function(torch.tensor(value))
