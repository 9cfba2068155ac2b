"""The Beta in log space: how samples move, to ten digits, and quantiles, against mpmath."""

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import special

from reparam.special.incomplete_beta import (
    beta_logit_quantile,
    beta_slopes,
    digamma_difference,
    with_beta_gradient,
)

DOUBLE = {"dtype": torch.float64}
SHAPES = [
    (1e-3, 1e-3),
    (1e-3, 2.0),
    (0.1, 1e5),
    (1e5, 1e-3),
    (0.5, 0.5),
    (1.0, 30.0),
    (3.0, 0.01),
    (30.0, 40.0),
    (1e5, 1e3),
    (1e5, 1e5),
]
LEVELS = [1e-8, 0.1, 0.5, 0.97, 1 - 1e-8]
every_shape = pytest.mark.parametrize(("a", "b"), SHAPES)


def tensors(*values):
    """Each number, or list of them, in float64."""
    return [torch.tensor(v, **DOUBLE) for v in values]


def logistic(z):
    """log x and log(1 - x) at the logit z, without cancellation."""
    fall = mp.log1p(mp.exp(-abs(z)))
    return (z - fall if z < 0 else -fall), (-fall if z < 0 else -z - fall)


def true_slopes(a, b, z):
    """-(dF/da) / f and -(dF/db) / f by definition, as integrals over the left tail."""
    a, b, z = mp.mpf(a), mp.mpf(b), mp.mpf(z)
    if z > mp.log(a / b):
        by_b, by_a = true_slopes(b, a, -z)
        return -by_a, -by_b
    at, psi = logistic(z), mp.digamma(a + b)
    x, y = (mp.exp(v) for v in at)
    scale = 1 / (abs(a * y - b * x) + mp.sqrt((a + b) * x * y))
    end = max(200 * scale, 200 / a)
    cuts = {mp.mpf(0), end, *(scale * 2**k for k in range(int(mp.log(end / scale, 2)) + 1))}
    cuts |= {z + c for c in (-64, -16, -8, -4, -2, 0, 2, 4, 8) if 0 < z + c < end}

    def integral(bracket):
        def integrand(r):
            there = logistic(z - r)
            change = a * (there[0] - at[0]) + b * (there[1] - at[1])
            return bracket(*there) * mp.exp(change)

        return mp.quad(integrand, sorted(cuts))

    by_a = integral(lambda log_x, _: mp.digamma(a) - psi - log_x)
    return by_a, integral(lambda _, log_y: mp.digamma(b) - psi - log_y)


@every_shape
def test_slopes_are_mpmaths(a, b):
    """To 1e-10, from 1e-3 to 1e5 and quantiles from 1e-8 to 1 - 1e-8."""
    z = beta_logit_quantile(*tensors(LEVELS, a, b))
    with mp.workdps(30):
        exact = [[float(s) for s in true_slopes(a, b, v)] for v in z.tolist()]
    got = torch.stack(beta_slopes(z, *tensors(a, b)), -1)
    torch.testing.assert_close(got, torch.tensor(exact, **DOUBLE), rtol=1e-10, atol=0)


@pytest.mark.parametrize(("a", "b", "x"), [(0.3, 2.0, 0.2), (0.3, 2.0, 0.7), (5.0, 1.5, 0.5)])
def test_slopes_are_the_derivatives_of_mpmaths_own_function(a, b, x):
    """-(dI/da) / f and -(dI/db) / f, I differentiated numerically with 30 digits."""
    with mp.workdps(30):
        density = mp.mpf(x) ** mp.mpf(a) * (1 - mp.mpf(x)) ** mp.mpf(b) / mp.beta(a, b)
        exact = [
            float(-mp.diff(lambda a, b: mp.betainc(a, b, 0, x, regularized=True), (a, b), order))
            / float(density)
            for order in ((1, 0), (0, 1))
        ]
        z = float(mp.log(mp.mpf(x) / (1 - mp.mpf(x))))
    got = [s.item() for s in beta_slopes(*tensors(z, a, b))]
    assert got == pytest.approx(exact, rel=1e-11)


@pytest.mark.parametrize("a", [1e-6, 0.01, 1.0, 300.0])
def test_slopes_have_their_closed_form_at_b_1(a):
    """F = x^a: d log x / da = -log x / a."""
    z = torch.tensor([-30.0, -2.0, 0.0, 3.0, 12.0], **DOUBLE)
    exact = torch.nn.functional.softplus(-z) / (a * torch.sigmoid(-z))
    by_a = beta_slopes(z, *tensors(a, 1.0))[0]
    torch.testing.assert_close(by_a, exact, rtol=1e-9, atol=0)
    mirrored = beta_slopes(-z, *tensors(1.0, a))[1]
    torch.testing.assert_close(mirrored, -by_a, rtol=1e-13, atol=0)


@every_shape
def test_quantiles_are_scipys(a, b):
    """F(x) = u to 1e-8, u or 1 - u being small, x or 1 - x being one that is precise."""
    u = torch.tensor(LEVELS, **DOUBLE)
    z = beta_logit_quantile(u, *tensors(a, b))
    x, y = torch.sigmoid(z).numpy(), torch.sigmoid(-z).numpy()
    below = np.where(x < y, special.betainc(a, b, x), special.betaincc(b, a, y))
    above = np.where(x < y, special.betaincc(a, b, x), special.betainc(b, a, y))
    below, above = torch.as_tensor(below), torch.as_tensor(above)
    normal = z.abs() < 700
    torch.testing.assert_close(below[normal], u[normal], rtol=1e-8, atol=0)
    torch.testing.assert_close(above[normal], 1 - u[normal], rtol=1e-8, atol=1e-15)
    # Beyond, F is x^a / (a B) on the left, and mirrored on the right.
    log_beta = special.betaln(a, b)
    left = ((u.log() + log_beta) / a + torch.tensor(a).log() / a).double()
    right = -((torch.log1p(-u) + log_beta) / b + torch.tensor(b).log() / b).double()
    torch.testing.assert_close(z[z < -700], left[z < -700], rtol=1e-6, atol=0)
    torch.testing.assert_close(z[z > 700], right[z > 700], rtol=1e-6, atol=0)


def test_extreme_uniforms_have_quantiles():
    """From 1e-300 to the last number below 1, all increasing, at every pair of shapes."""
    u = torch.tensor([1e-300, 1e-30, 2.0**-53, 0.5, 1 - 2.0**-53], **DOUBLE)
    shapes = torch.tensor([1e-6, 1e-3, 0.5, 1.0, 100.0, 1e5], **DOUBLE)
    z = beta_logit_quantile(u, shapes.view(-1, 1, 1), shapes.view(-1, 1))
    assert z.isfinite().all()
    assert (z.diff() > 0).all()


@pytest.mark.parametrize("b", [1e-3, 1.0, 1e4])
def test_quantiles_have_their_closed_form_at_a_1(b):
    """1 - F = (1 - x)^b, from u = 1e-300 on."""
    u = torch.tensor([1e-300, 1e-100, 1e-8, 0.3, 0.999], **DOUBLE)
    exact = -torch.log1p(-u) / b  # -log(1 - x)
    z = beta_logit_quantile(u, *tensors(1.0, b))
    torch.testing.assert_close(z, exact + torch.log(-torch.expm1(-exact)), rtol=1e-10, atol=1e-10)


def test_float32_asks_for_seven_digits():
    """From tail to tail, for shapes from 1e-2 to 1e5; a tenth of them at 1e-3."""
    levels = torch.tensor([1e-12, *LEVELS, 1 - 1e-12], **DOUBLE)
    for least, rtol in ((-2, 1e-7), (-3, 1e-6)):
        shapes = torch.logspace(least, 5, 15, **DOUBLE)
        a, b = (t.reshape(-1, 1) for t in torch.meshgrid(shapes, shapes, indexing="ij"))
        z = beta_logit_quantile(levels, a, b)
        a, b = (t.expand(z.shape).clone().requires_grad_() for t in (a, b))
        moved = with_beta_gradient(z, a, b, torch.float32)
        got = torch.autograd.grad(moved.sum(), (a, b))
        with torch.no_grad():
            torch.testing.assert_close(got, beta_slopes(z, a, b), rtol=rtol, atol=0)


def test_two_derivatives_are_exact_in_the_left_tail():
    """There F = x^a / (a B(a, b)): z = (log u + log a + log B) / a."""
    u, shapes = 1e-12, (0.4, 3.0)
    a, b = (torch.tensor(v, **DOUBLE, requires_grad=True) for v in shapes)

    def exact(*order):
        def power_law(a, b):
            return mp.log(u * a * mp.beta(a, b)) / a

        with mp.workdps(30):
            return float(mp.diff(power_law, tuple(map(mp.mpf, shapes)), order))

    z = with_beta_gradient(beta_logit_quantile(torch.tensor(u, **DOUBLE), a, b), a, b)
    assert z.item() == pytest.approx(exact(0, 0), rel=1e-12)
    by_a, by_b = torch.autograd.grad(z, (a, b), create_graph=True)
    assert [by_a.item(), by_b.item()] == pytest.approx([exact(1, 0), exact(0, 1)], rel=1e-12)
    mixed = torch.autograd.grad(by_a, b, retain_graph=True)[0].item()
    twice = [g.item() for g in torch.autograd.grad(by_b, (a, b))]
    assert [mixed, *twice] == pytest.approx([exact(1, 1), exact(1, 1), exact(0, 2)], rel=1e-11)


def test_forward_mode_and_vmap_agree():
    """jvp in one parameter and in both, and a vmapped gradient, against the slopes."""
    a, b, z = tensors([0.01, 2.0, 50.0], [0.5, 0.1, 70.0], [-3.0, 4.0, -0.3])
    by_a, by_b = beta_slopes(z, a, b)
    alone = torch.func.jvp(lambda b: with_beta_gradient(z, a, b), (b,), (b,))[1]
    torch.testing.assert_close(alone, b * by_b)
    both = torch.func.jvp(lambda a, b: with_beta_gradient(z, a, b), (a, b), (a, b))[1]
    torch.testing.assert_close(both, a * by_a + b * by_b)
    gradient = torch.func.grad(lambda a, b, z: with_beta_gradient(z, a, b), argnums=(0, 1))
    torch.testing.assert_close(torch.func.vmap(gradient)(a, b, z), (by_a, by_b))


@pytest.mark.parametrize("x", [1e-8, 0.3, 1.0, 9.0, 1e6])
def test_digamma_differences_are_mpmaths(x):
    """To 1e-14, for differences d from 1e-20 to 1e6."""
    steps = [0.0, 1e-20, 1e-3, 1.0, 50.0, 1e6]
    with mp.workdps(60):
        exact = [float(mp.digamma(mp.mpf(x) + mp.mpf(d)) - mp.digamma(mp.mpf(x))) for d in steps]
    got = digamma_difference(*tensors([x] * len(steps), steps))
    assert got.tolist() == pytest.approx(exact, rel=1e-14, abs=0)
