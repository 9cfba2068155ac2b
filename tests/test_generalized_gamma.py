"""The generalized gamma: levels, gradients in the concentration and divergences."""

import mpmath as mp
import pytest
import torch
from torch import distributions as D

from reparam.distributions import GeneralizedGamma
from reparam.special.gamma_levels import gamma_cdf_of_log, gamma_log_icdf

DOUBLE = {"dtype": torch.float64}


def scalars(*values):
    """float64 leaves."""
    return [torch.tensor(v, **DOUBLE, requires_grad=True) for v in values]


@pytest.mark.parametrize("alpha", [0.01, 0.7, 1.0, 12.0, 300.0])
@pytest.mark.parametrize("level", [1e-6, 0.2, 0.5, 0.999])
def test_the_cdf_and_its_inverse_move_as_mpmaths(alpha, level):
    """F and its slopes at a quantile, whose own are 1 / p and minus their ratio."""
    u, a = scalars(level, alpha)
    y = gamma_log_icdf(u, a)
    by_u, by_a = torch.autograd.grad(y, (u, a))
    at = y.detach().requires_grad_()
    below = gamma_cdf_of_log(at, a)
    density, slope = torch.autograd.grad(below, (at, a))
    with mp.workdps(40):
        x = mp.exp(mp.mpf(at.item()))
        lower = mp.gammainc(alpha, 0, x, regularized=True)
        exact = mp.diff(lambda k: mp.gammainc(k, 0, x, regularized=True), mp.mpf(alpha))
        exact_density = mp.exp(alpha * mp.log(x) - x) / mp.gamma(alpha)
    assert below.item() == pytest.approx(float(lower), rel=1e-9)
    assert below.item() == pytest.approx(level, rel=1e-9)
    assert slope.item() == pytest.approx(float(exact), rel=1e-9, abs=1e-13)
    assert density.item() == pytest.approx(float(exact_density), rel=1e-11)
    assert by_u.item() == pytest.approx(1 / density.item(), rel=1e-12)
    assert by_a.item() == pytest.approx(-slope.item() / density.item(), rel=1e-12)


def test_second_derivatives_of_the_cdf_are_exact():
    """In the value and the concentration, by central differences."""
    y, alpha = torch.tensor([-1.0, 0.4, 1.2], **DOUBLE), torch.tensor([0.7, 1.5, 4.0], **DOUBLE)
    assert torch.autograd.gradgradcheck(
        gamma_cdf_of_log, (y.requires_grad_(), alpha.requires_grad_()), rtol=1e-5
    )


def test_levels_end_at_the_ends():
    """0 and infinity, that pass no NaN to the others."""
    leaves = scalars(1.8, 0.7, 1.6)
    levels = torch.tensor([0.0, 0.3, 1.0], **DOUBLE, requires_grad=True)
    x = GeneralizedGamma(*leaves).icdf(levels)
    assert x[[0, 2]].tolist() == [0, torch.inf]
    gradients = torch.autograd.grad(x[1], [levels, *leaves])
    assert all(g.isfinite().all() for g in gradients)


def test_its_special_cases_are_torchs():
    """Gamma, Weibull, half-normal and exponential: densities, levels, moments and divergences."""
    k, s, p = (v.detach() for v in scalars(1.8, 0.7, 1.6))
    one = torch.ones((), **DOUBLE)
    pairs = [
        (GeneralizedGamma(k, s, one), D.Gamma(k, 1 / s)),
        (GeneralizedGamma(one, s, p), D.Weibull(s, p)),
        (GeneralizedGamma(one / 2, s * 2**0.5, 2 * one), D.HalfNormal(s)),
        (GeneralizedGamma(one, s, one), D.Exponential(1 / s)),
    ]
    x = torch.tensor([0.05, 0.6, 3.0], **DOUBLE)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))
        torch.testing.assert_close(ours.cdf(x), theirs.cdf(x))
        torch.testing.assert_close(ours.icdf(ours.cdf(x)), x)
        for name in ("mean", "variance"):
            torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
        torch.testing.assert_close(ours.entropy(), theirs.entropy())
    gammas = (GeneralizedGamma(k, s, one), GeneralizedGamma(2 * k, 3 * s, one))
    torch.testing.assert_close(
        D.kl_divergence(*gammas), D.kl_divergence(D.Gamma(k, 1 / s), D.Gamma(2 * k, 1 / (3 * s)))
    )


def test_the_divergence_is_that_of_the_densities():
    """Of any two, by mpmath; its gradients in all six parameters by central differences."""
    values = (1.8, 0.7, 1.6, 0.9, 1.3, 0.8)

    def log_p(x, k, s, p):
        return mp.log(p) + k * p * mp.log(x / s) - (x / s) ** p - mp.loggamma(k) - mp.log(x)

    def exact(*v):
        return mp.quad(
            lambda x: mp.exp(log_p(x, *v[:3])) * (log_p(x, *v[:3]) - log_p(x, *v[3:])),
            [0, 0.1, 0.4, 1, 2, 4, 8, 16],
        )

    leaves = scalars(*values)

    def divergence(*v):
        return D.kl_divergence(GeneralizedGamma(*v[:3]), GeneralizedGamma(*v[3:]))

    assert divergence(*leaves).item() == pytest.approx(float(exact(*map(mp.mpf, values))), rel=1e-9)
    assert torch.autograd.gradcheck(divergence, leaves)
    itself = GeneralizedGamma(*leaves[:3])
    assert abs(D.kl_divergence(itself, itself).item()) < 1e-15


def test_float32_densities_have_their_digits():
    """At a concentration of 1e4, whose terms are 1e5 each: to 1e-6 of float64's."""
    single = [torch.tensor(v) for v in (1e4, 0.5, 1.25)]
    q, wide = GeneralizedGamma(*single), GeneralizedGamma(*(v.double() for v in single))
    x = q.mean * torch.tensor([0.99, 1.0, 1.01])
    assert q.log_prob(x).dtype == torch.float32
    torch.testing.assert_close(q.log_prob(x).double(), wide.log_prob(x), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(q.variance.double(), wide.variance, rtol=1e-6, atol=0)


def test_wrong_parameters_and_values_are_refused():
    """By torch's own validation."""
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        GeneralizedGamma(1.0, 1.0, 0.0, validate_args=True)
    for method in ("log_prob", "cdf"):
        with pytest.raises(ValueError, match="within the support"):
            getattr(GeneralizedGamma(1.0, 1.0, 1.0, validate_args=True), method)(torch.tensor(-1.0))
