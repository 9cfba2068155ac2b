"""The Gamma in log space: how samples move, to twelve digits, and quantiles, against mpmath."""

import mpmath as mp
import pytest
import torch
from scipy import special

from reparam.special import implicit
from reparam.special.incomplete_gamma import gamma_log_quantile, gamma_slope, with_gamma_gradient

DOUBLE = {"dtype": torch.float64}
ALPHAS = [1e-3, 0.1, 1.0, 7.0, 200.0, 1e6]
LEVELS = [1e-8, 0.01, 0.3, 0.5, 0.9, 1 - 1e-8]


def quantiles(alpha):
    """Values of y from tail to tail, for which no reference has to be exact."""
    return gamma_log_quantile(torch.tensor(LEVELS, **DOUBLE), torch.tensor(alpha, **DOUBLE))


def true_tail(alpha, y):
    """By definition, over the tail on y's side of the mean: -(dF/dalpha) / f, and its probability.

    The first is the integral of (s - digamma(alpha)) f(s) / f(y), up to its sign.
    """
    alpha, y = mp.mpf(alpha), mp.mpf(y)
    x, psi = mp.exp(y), mp.digamma(alpha)
    sign = -1 if y < psi else 1
    scale = 1 / (abs(x - alpha) + mp.sqrt(x))
    end = max(200 / alpha, 200 * scale)
    if sign > 0:
        end = min(end, mp.log1p((1000 + 256 * alpha * scale) / x))
    cuts = {mp.mpf(0), end, *(scale * 2**k for k in range(int(mp.log(end / scale, 2)) + 1))}
    # Around where x e^r is of order 1, too.
    bends = {*(mp.mpf(4) ** k for k in range(-2, 6)), *(c - y for c in (-16, -4, -1, 1, 3, 5))}
    cuts = sorted(cuts | {bend for bend in bends if 0 < bend < end})

    def integral(bracket):
        return mp.quad(
            lambda r: bracket(r) * mp.exp(sign * alpha * r - x * (mp.exp(sign * r) - 1)), cuts
        )

    density = mp.exp(alpha * y - x - mp.loggamma(alpha))
    return integral(lambda r: sign * (y - psi) + r), density * integral(lambda _: 1), sign


@pytest.mark.parametrize("alpha", ALPHAS)
def test_slopes_are_mpmaths(alpha):
    """To 1e-11, for alpha from 1e-3 to 1e6 and quantiles from 1e-8 to 1 - 1e-8."""
    y = quantiles(alpha)
    with mp.workdps(40):
        exact = [float(true_tail(alpha, v)[0]) for v in y.tolist()]
    got = gamma_slope(y, torch.tensor(alpha, **DOUBLE))
    assert got.tolist() == pytest.approx(exact, rel=1e-11)


@pytest.mark.parametrize(("alpha", "x"), [(0.3, 0.01), (0.3, 2.0), (4.0, 3.0), (25.0, 40.0)])
def test_slopes_are_the_derivatives_of_mpmaths_own_function(alpha, x):
    """-(dP/dalpha) / f, P differentiated numerically with 40 digits."""
    with mp.workdps(40):
        slope = mp.diff(lambda a: mp.gammainc(a, 0, x, regularized=True), mp.mpf(alpha))
        exact = -slope / (mp.mpf(x) ** mp.mpf(alpha) * mp.exp(-mp.mpf(x)) / mp.gamma(alpha))
        y = float(mp.log(x))
    got = gamma_slope(torch.tensor(y, **DOUBLE), torch.tensor(alpha, **DOUBLE))
    assert got.item() == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_quantiles_are_mpmaths(alpha):
    """The probability of the nearer tail is u or 1 - u, to 1e-8 of itself."""
    for u, y in zip(LEVELS, quantiles(alpha).tolist(), strict=True):
        with mp.workdps(40):
            _, got, sign = true_tail(alpha, y)
            exact = mp.mpf(u) if sign < 0 else 1 - mp.mpf(u)
        assert float(got / exact) == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("alpha", [1e-9, 1e-6, 1e-3, 0.5])
def test_where_x_underflows_all_has_a_closed_form(alpha):
    """F = x^alpha / Gamma(alpha + 1), with slope (digamma(alpha + 1) - y) / alpha."""
    a, u = torch.tensor(alpha, **DOUBLE), torch.tensor([1e-300, 1e-100, 1e-30], **DOUBLE)
    y = gamma_log_quantile(u, a)
    torch.testing.assert_close(y, (u.log() + torch.lgamma(a + 1)) / a, rtol=1e-13, atol=0)
    exact = (torch.digamma(a + 1) - y) / a
    torch.testing.assert_close(gamma_slope(y, a), exact, rtol=1e-13, atol=0)


def test_small_shapes_have_their_limit_on_the_right():
    """alpha dy/dalpha -> e^x E1(x), to alpha of itself."""
    x = torch.tensor([1.0, 4.0, 30.0], **DOUBLE)
    exact = torch.as_tensor(special.exp1(x.numpy())) * x.exp() * 1e9
    slope = gamma_slope(x.log(), torch.tensor(1e-9, **DOUBLE))
    torch.testing.assert_close(slope, exact, rtol=1e-8, atol=0)


def test_extreme_uniforms_have_quantiles():
    """From 1e-300 to the last number below 1, all increasing."""
    u = torch.tensor([1e-300, 1e-30, 2.0**-53, 0.5, 1 - 2.0**-53], **DOUBLE)
    for alpha in ALPHAS:
        y = gamma_log_quantile(u, torch.tensor(alpha, **DOUBLE))
        assert y.isfinite().all()
        assert (y.diff() > 0).all()


def test_three_derivatives_are_exact_in_the_left_tail():
    """There F = x^alpha / Gamma(alpha + 1): y = (log u + log Gamma(alpha + 1)) / alpha."""
    alpha = torch.tensor([0.05, 0.5, 2.0], **DOUBLE, requires_grad=True)
    u = torch.tensor([0.001, 1e-15, 1e-40], **DOUBLE)
    exact = (u.log() + torch.lgamma(alpha + 1)) / alpha
    got = with_gamma_gradient(gamma_log_quantile(u, alpha), alpha)
    for _ in range(4):
        torch.testing.assert_close(got, exact, rtol=1e-9, atol=0)
        got, exact = (
            torch.autograd.grad(v.sum(), alpha, create_graph=True)[0] for v in (got, exact)
        )


def test_the_second_derivative_is_that_of_the_quantile():
    """Central differences of the slope along the quantile, from tail to tail."""
    h, alpha = 1e-4, torch.tensor([[0.3], [3.0], [100.0]], **DOUBLE, requires_grad=True)
    u = torch.tensor([0.001, 0.3, 0.7, 0.999], **DOUBLE)
    y = with_gamma_gradient(gamma_log_quantile(u, alpha), alpha.expand(3, 4))
    slope = torch.autograd.grad(y.sum(), alpha, create_graph=True)[0]
    got = torch.autograd.grad(slope.sum(), alpha)[0]
    up, down = (gamma_slope(gamma_log_quantile(u, a), a) for a in (alpha + h, alpha - h))
    torch.testing.assert_close(got, ((up - down) / (2 * h)).sum(-1, True), rtol=1e-5, atol=0)


def test_forward_mode_vmap_and_chunks_agree(monkeypatch):
    """jvp, a vmapped gradient, and the backward pass in chunks of three, against the slope."""
    alpha = torch.tensor([0.01, 0.5, 2.0, 50.0], **DOUBLE)
    y = gamma_log_quantile(torch.tensor([0.1, 0.9, 0.5, 0.2], **DOUBLE), alpha)
    slope = gamma_slope(y, alpha)
    tangent = torch.func.jvp(lambda a: with_gamma_gradient(y, a), (alpha,), (2 * alpha,))[1]
    torch.testing.assert_close(tangent, 2 * alpha * slope)
    gradient = torch.func.grad(lambda a, v: with_gamma_gradient(v, a))
    torch.testing.assert_close(torch.func.vmap(gradient)(alpha, y), slope)
    monkeypatch.setattr(implicit, "_CHUNK", 3)
    leaf = alpha.clone().requires_grad_()
    moved = with_gamma_gradient(y.view(2, 2), leaf.view(2, 2))
    torch.testing.assert_close(torch.autograd.grad(moved.sum(), leaf)[0], slope)


def test_float32_parameters_have_seven_digits():
    """From tail to tail, for alpha from 1e-6 to 1e6; of float64 ones, all."""
    alpha = torch.logspace(-6, 6, 25).view(-1, 1)
    levels = torch.tensor([1e-12, *LEVELS, 1 - 1e-12], **DOUBLE)
    y = gamma_log_quantile(levels, alpha)
    for given, rtol in ((alpha, 2e-7), (alpha.double(), 1e-15)):
        wide = given.expand(y.shape).clone().requires_grad_()
        (got,) = torch.autograd.grad(with_gamma_gradient(y, wide).sum(), wide)
        torch.testing.assert_close(got.double(), gamma_slope(y, alpha), rtol=rtol, atol=0)


def test_float32_is_taken_to_float64():
    """The slope of float32 inputs is that of the same numbers."""
    y, alpha = torch.tensor([-3.0, 2.0]), torch.tensor([0.1, 10.0])
    assert torch.equal(gamma_slope(y, alpha), gamma_slope(y.double(), alpha.double()))
