"""The laws that every continuous distribution of the library obeys, without sampling if it can."""

import pytest
import torch
from torch import Tensor

import reparam as rp
from acceptance import assert_follows, seeded
from distribution_cases import CASES, Case
from reparam.families import reparameterize
from reparam.noise import Noise

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
COMPLETE = ["logistic", "truncated normal", "inverse Gaussian", "generalized gamma"]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

# Expectations by a trapezoid rule in t, u = Phi(t); in float64 it ends where 1 - u does.
t = torch.arange(-7.5, 7.505, 0.01, dtype=torch.float64)
u = torch.special.ndtr(t)
weights = torch.exp(-t.square() / 2) * 0.01 / (2 * torch.pi) ** 0.5
inner = torch.special.ndtr(torch.linspace(-3.5, 3.5, 25, dtype=torch.float64))


def points(case: Case, leaves: list[Tensor], noise: Tensor) -> Tensor:
    """Pathwise points at given uniforms."""
    return rp.Pathwise().draw(case.build(*leaves), len(noise), noise=noise).points


@every_case
def test_given_uniforms_come_out_as_quantiles(case):
    """The true CDF of each is its uniform, to 1e-10."""
    x = points(case, case.leaves(), u).detach()
    cdf = torch.as_tensor(case.law(*case.params).cdf(x.numpy()))
    torch.testing.assert_close(cdf, u, rtol=0, atol=1e-10)


@every_case
def test_log_densities_are_scipys(case):
    """Over the central 1 - 1e-9."""
    x = points(case, case.leaves(), u[t.abs() < 6]).detach()
    expected = torch.as_tensor(case.law(*case.params).logpdf(x.numpy()))
    got = case.build(*case.leaves()).log_prob(x)
    torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-8)


@every_case
@pytest.mark.parametrize("cost", ["x", "x^2", "sin x"])
def test_gradients_are_those_of_the_expectation(case, cost):
    """E[f'(x) dx/dtheta] is E[f(x) dlog p/dtheta], both by quadrature."""
    if cost == "x^2" and case.heavy:
        pytest.skip("its fourth moment, which the score's side needs, is nearly infinite")
    f = {"x": lambda x: x, "x^2": torch.square, "sin x": torch.sin}[cost]
    leaves = case.leaves()
    x = points(case, leaves, u)
    pathwise = torch.autograd.grad(weights @ f(x), leaves, allow_unused=True)
    log_p = case.build(*leaves).log_prob(x.detach())
    score = torch.autograd.grad(weights @ (f(x.detach()) * log_p), leaves, allow_unused=True)
    tolerance = 2e-5 if case.heavy else 1e-8
    for i, (got, expected) in enumerate(zip(pathwise, score, strict=True)):
        if i not in case.ends:
            torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


@every_case
def test_both_derivatives_of_a_quantile_are_exact(case):
    """Against central differences of the quantiles, and of their gradients."""
    leaves = case.leaves()

    def quantiles(*leaves: Tensor) -> Tensor:
        return points(case, list(leaves), inner)

    assert torch.autograd.gradcheck(quantiles, leaves, rtol=1e-5, atol=1e-6)
    assert torch.autograd.gradgradcheck(quantiles, leaves, rtol=1e-4, atol=1e-5)


@every_case
def test_cdf_and_icdf_are_inverse_and_differentiable(case):
    """Where they exist: cdf(icdf(u)) = u, dF/dx = p, dF/dtheta = -p dx/dtheta."""
    leaves = case.leaves()
    q = case.build(*leaves)
    x = points(case, leaves, inner)
    try:
        level = q.cdf(x.detach())
    except NotImplementedError:
        pytest.skip("no cdf")
    torch.testing.assert_close(level, inner, rtol=1e-9, atol=1e-9)
    at = x.detach().requires_grad_()
    slope = torch.autograd.grad(q.cdf(at).sum(), at)[0]
    torch.testing.assert_close(slope, q.log_prob(at.detach()).exp(), rtol=1e-7, atol=1e-9)
    try:
        back = q.icdf(inner)
    except NotImplementedError:
        return
    torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-9)


@every_case
def test_both_derivatives_of_icdf_are_exact(case):
    """In the level and the parameters: dx/du = 1 / p, and central differences of all."""
    levels = inner[::4].clone().requires_grad_()
    leaves = case.leaves()

    def quantiles(levels: Tensor, *leaves: Tensor) -> Tensor:
        return case.build(*leaves).icdf(levels)

    try:
        x = quantiles(levels, *leaves)
    except NotImplementedError:
        pytest.skip("no icdf")
    slope = torch.autograd.grad(x.sum(), levels)[0]
    density = case.build(*leaves).log_prob(x.detach()).exp()
    torch.testing.assert_close(slope * density, torch.ones_like(slope), rtol=1e-9, atol=0)
    assert torch.autograd.gradcheck(quantiles, (levels, *leaves), rtol=1e-5, atol=1e-6)
    assert torch.autograd.gradgradcheck(quantiles, (levels, *leaves), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*COMPLETE, "student"])
def test_closed_forms_and_levels_pass_through_transforms(name):
    """cdf, icdf, entropy and their gradients: vmap, and jvp."""
    case, levels = CASES[name], inner[::6]

    def total(*leaves: Tensor) -> Tensor:
        q = case.build(*leaves)
        x = q.icdf(levels)
        return x.sin().sum() + q.cdf(0.99 * x.detach()).square().sum() + q.entropy()

    leaves = [p.detach() for p in case.leaves()]
    every = tuple(range(len(leaves)))
    slopes = torch.func.grad(total, every)(*leaves)
    batch = [torch.stack([p, 1.1 * p]) for p in leaves]
    rows = torch.func.vmap(torch.func.grad(total, every))(*batch)
    torch.testing.assert_close(tuple(row[0] for row in rows), slopes)
    _, tangent = torch.func.jvp(total, tuple(leaves), tuple(torch.ones_like(p) for p in leaves))
    torch.testing.assert_close(tangent, sum(slopes))


@pytest.mark.parametrize("name", COMPLETE)
def test_the_protocol_is_filled(name):
    """What the laws around skip where it is missing is there, with a gradient."""
    q = CASES[name].build(*CASES[name].leaves())
    for value in (q.mean, q.mode, q.variance, q.entropy(), q.icdf(inner), q.cdf(q.mean)):
        assert value.requires_grad


@every_case
def test_the_cdf_moves_against_its_quantiles(case):
    """dF/dtheta = -p dx/dtheta, where F can be differentiated."""
    leaves = case.leaves()
    x = points(case, leaves, inner)
    p = case.build(*leaves).log_prob(x.detach()).exp().detach()
    try:
        fall = torch.autograd.grad(case.build(*leaves).cdf(x.detach()).sum(), leaves)
    except (NotImplementedError, RuntimeError):
        pytest.skip("no differentiable cdf")
    rise = torch.autograd.grad((x * p).sum(), leaves)
    for got, expected in zip(fall, rise, strict=True):
        torch.testing.assert_close(got, -expected, rtol=1e-7, atol=1e-9)


@every_case
@pytest.mark.parametrize("name", ["mean", "variance", "entropy"])
def test_moments_are_those_of_the_density(case, name):
    """By the same quadrature, and so are their gradients; the circular variance is elsewhere."""
    leaves = case.leaves()
    q, x = case.build(*leaves), points(case, leaves, u)
    if name == "variance" and isinstance(q, rp.distributions.VonMises):
        pytest.skip("its variance is the circular one")
    try:
        got = q.entropy() if name == "entropy" else getattr(q, name)
    except NotImplementedError:
        pytest.skip(f"no {name}")
    mean = weights @ x
    values = {"mean": x, "variance": (x - mean).square(), "entropy": -q.log_prob(x)}
    expected = weights @ values[name]
    tolerance = 2e-5 if case.heavy else 1e-8
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
    slopes = [
        torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
        for value in (got, expected)
    ]
    torch.testing.assert_close(*slopes, rtol=5 * tolerance, atol=5 * tolerance)


@every_case
def test_the_mode_is_the_top_of_the_density(case):
    """Nowhere on the quantiles is the density larger; inside the support it is flat there."""
    q = case.build(*case.leaves())
    try:
        mode = q.mode.detach().requires_grad_()
    except NotImplementedError:
        pytest.skip("no mode")
    top = q.log_prob(mode)
    assert (q.log_prob(points(case, case.leaves(), u).detach()) <= top + 1e-12).all()
    if not case.ends or isinstance(q, rp.distributions.VonMises):
        assert abs(torch.autograd.grad(top, mode)[0]) < 1e-9


@every_case
def test_divergences_are_those_of_the_densities(case):
    """To one of other parameters, where a divergence is known: by quadrature, with its gradient."""
    leaves = case.leaves()
    q, other = case.build(*leaves), case.build(*(p.detach() * 1.2 for p in leaves))
    try:
        kl = torch.distributions.kl_divergence(q, other)
    except NotImplementedError:
        pytest.skip("no divergence")
    if kl == torch.inf:
        pytest.skip("the other does not cover it")
    x = points(case, leaves, u)
    expected = weights @ (q.log_prob(x) - other.log_prob(x))
    torch.testing.assert_close(kl, expected, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(
        torch.autograd.grad(kl, leaves, materialize_grads=True),
        torch.autograd.grad(expected, leaves, materialize_grads=True),
        rtol=1e-7,
        atol=1e-8,
    )


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("source", ["generator", "key"])
def test_samples_follow_the_law(case, dtype, source):
    """KS, 2e4 draws: false fail 1e-7; a CDF wrong by .041 somewhere passes at 1e-7."""
    q = case.build(*case.leaves(dtype))
    noise = Noise(generator=seeded(1)) if source == "generator" else Noise(key=1)
    x = reparameterize(q, 20_000, noise)
    assert x.dtype == dtype
    assert x.requires_grad
    assert_follows(x, case.law(*case.params).cdf)


@every_case
def test_native_samples_follow_the_law(case):
    """KS, 1e5 draws from the global generator: false fail 1e-7, .018 off passes at 1e-7."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        q = case.build(*case.leaves())
        x, plain = q.rsample((100_000,)), q.sample((1000,))
    assert not plain.requires_grad
    assert_follows(x, case.law(*case.params).cdf)
    assert_follows(plain, case.law(*case.params).cdf)


@every_case
@pytest.mark.parametrize("device", DEVICES)
def test_float32_has_its_digits(case, device):
    """Points and gradients of float32 parameters are float64's to 1e-5, on every device."""
    results = {}
    for dtype in (torch.float32, torch.float64):
        leaves = case.leaves(dtype, device)
        # The same numbers: float64 of the rounded parameters.
        leaves = [p.detach().float().to(dtype).requires_grad_() for p in leaves]
        x = points(case, leaves, inner.to(device))
        gradients = torch.autograd.grad(x.square().mean(), leaves)
        results[dtype] = [x.detach(), *gradients]
    for got, expected in zip(results[torch.float32], results[torch.float64], strict=True):
        assert got.dtype == torch.float32
        assert got.device.type == device
        torch.testing.assert_close(got.double(), expected, rtol=2e-5, atol=2e-6)


@every_case
def test_rows_are_drawn_independently(case):
    """An expanded q draws each row anew; generators fix the rows and leave the global one alone."""
    q, before = case.build(*case.leaves()).expand((3, 2)), torch.get_rng_state()
    assert q.batch_shape == (3, 2)
    x = rp.Pathwise().draw(q, 4, generator=seeded(0)).points
    assert x.shape == (4, 3, 2)
    assert x.unique().numel() == 24
    assert torch.equal(x, rp.Pathwise().draw(q, 4, generator=seeded(0)).points)
    assert torch.equal(before, torch.get_rng_state())
    assert q.log_prob(x).shape == (4, 3, 2)


@every_case
def test_a_row_depends_on_its_own_key_alone(case):
    """Rows with keys are the same, one by one, in any batch."""
    keys = rp.fold_in(3, torch.arange(3))
    q = case.build(*case.leaves())
    x = reparameterize(q.expand((3,)), 4, Noise(key=keys))
    alone = reparameterize(q.expand((1,)), 4, Noise(key=keys[1:2]))
    torch.testing.assert_close(x[:, 1:2], alone, rtol=1e-12, atol=0)
    assert x.unique().numel() == 12


@every_case
def test_forward_mode_and_vmap_agree_with_reverse_mode(case):
    """jvp, and gradients of a batch by vmap, at the same noise."""
    leaves = tuple(p.detach() for p in case.leaves())
    noise = Noise(uniforms=inner[::5])

    def total(*leaves: Tensor) -> Tensor:
        return reparameterize(case.build(*leaves), 5, noise).sin().sum()

    reverse = torch.func.grad(total, tuple(range(len(leaves))))(*leaves)
    ones = tuple(torch.ones_like(p) for p in leaves)
    _, forward = torch.func.jvp(total, leaves, ones)
    torch.testing.assert_close(forward, sum(reverse))
    batch = tuple(torch.stack([p, 1.1 * p]) for p in leaves)
    each = torch.func.vmap(torch.func.grad(total, tuple(range(len(leaves)))))(*batch)
    torch.testing.assert_close(tuple(g[0] for g in each), reverse)


@every_case
def test_native_samples_are_drawn_under_vmap(case):
    """With randomness="different" rows differ."""
    leaves = tuple(p.detach().expand(3) for p in case.leaves())
    draw = torch.func.vmap(lambda *p: case.build(*p).rsample((2,)), randomness="different")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert draw(*leaves).unique().numel() == 6
