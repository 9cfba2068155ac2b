"""Von Mises and von Mises-Fisher against Bessel's closed forms and mpmath, at any concentration."""

import mpmath as mp
import pytest
import torch
from scipy import stats

from acceptance import ks_bound, seeded
from reparam.distributions import VonMises, VonMisesFisher
from reparam.distributions.polar import Polar
from reparam.noise import Noise
from reparam.special.bessel import log_bessel_and_quotient

DOUBLE = {"dtype": torch.float64}
KAPPAS = [1e-4, 1e-2, 0.5, 3.0, 40.0, 1e3, 1e4]
t = torch.arange(-7.5, 7.505, 0.01, **DOUBLE)
u = torch.special.ndtr(t)
weights = torch.exp(-t.square() / 2) * 0.01 / (2 * torch.pi) ** 0.5


def leaf(value):
    """A float64 parameter."""
    return torch.tensor(value, **DOUBLE, requires_grad=True)


@pytest.mark.parametrize("order", [0, 0.5, 1, 7.5, 60, 499])
def test_bessel_functions_keep_their_digits(order):
    """Against mpmath, for arguments from 0 to 1e4."""
    for x in [0, 1e-4, 0.3, 2.0, 25.0, 300.0, 1e4]:
        with mp.workdps(40):
            v, z = mp.mpf(order), mp.mpf(x) or mp.mpf(10) ** -20
            i, up = mp.besseli(v, z), mp.besseli(v + 1, z)
            log_i, quotient = float(mp.log(i) - v * mp.log(z) - z), float(up / (z * i))
        at = torch.tensor(x, **DOUBLE)
        got = log_bessel_and_quotient(order, at)
        assert got[0].item() == pytest.approx(log_i, rel=1e-13, abs=1e-13)
        assert got[1].item() == pytest.approx(quotient, rel=1e-14)


@pytest.mark.parametrize("kappa", KAPPAS)
def test_the_mean_cosine_is_the_ratio_of_bessel_functions(kappa):
    """E cos = I1 / I0, and its first two derivatives in kappa, from the samples' own."""
    k = leaf(kappa)
    x = VonMises(torch.tensor(0.3, **DOUBLE), k).rsample((len(u),), Noise(uniforms=u))
    # 1 - cos without its cancellation.
    value = 2 * weights @ torch.sin((x - 0.3) / 2).square()
    (first,) = torch.autograd.grad(value, k, create_graph=True)
    (second,) = torch.autograd.grad(first, k)
    with mp.workdps(50):
        exact = mp.taylor(lambda z: 1 - mp.besseli(1, z) / mp.besseli(0, z), mp.mpf(kappa), 2)
    assert value.item() == pytest.approx(float(exact[0]), rel=1e-10)
    assert first.item() == pytest.approx(float(exact[1]), rel=1e-8)
    assert second.item() == pytest.approx(float(2 * exact[2]), rel=1e-5)


@pytest.mark.parametrize("dim", [2, 3, 10, 300])
@pytest.mark.parametrize("kappa", [1e-4, 1.0, 50.0, 1e4])
def test_slopes_of_the_angle_are_exact(dim, kappa):
    """-(dF/dkappa) / p by mpmath's quadrature, from a level of 1e-6 to 1 - 1e-6: to 1e-8."""
    polar = Polar(torch.tensor(kappa, **DOUBLE), dim)
    levels = torch.tensor([1e-6, 0.02, 0.5, 0.7, 0.99, 1 - 1e-6], **DOUBLE)
    angles = polar.quantile(levels, 1 - levels)
    torch.testing.assert_close(polar.tails(angles)[0], levels, rtol=1e-9, atol=1e-12)
    width = float(1 / (kappa + dim) ** 0.5)
    a, shift = polar.mean_cosine.item(), polar.log_density(angles[2]).item()

    def moment(power, low, high):
        def f(x):
            height = mp.exp(-2 * kappa * mp.sin(x / 2) ** 2 - polar.log_normalizer.item() - shift)
            return (mp.cos(x) - a) ** power * height * mp.sin(x) ** (dim - 2)

        centre = angles[2].item()
        cuts = [centre + i * width for i in range(-12, 13)]
        return mp.quad(f, [low, *(c for c in cuts if low < c < high), high])

    for angle, slope in zip(angles.tolist(), polar.slope(angles).tolist(), strict=True):
        low_side = angle < angles[3].item()
        part = moment(1, 0, angle) if low_side else -moment(1, angle, mp.pi)
        p = (polar.log_density(torch.tensor(angle, **DOUBLE)) - shift).exp().item()
        assert slope == pytest.approx(float(-part / p), rel=1e-8)


@pytest.mark.parametrize("dim", [2, 3, 10, 300])
def test_float32_asks_for_six_digits(dim):
    """Slopes from tail to tail, for concentrations from 1e-4 to 1e4, to 1e-6."""
    kappa = torch.logspace(-4, 4, 17, **DOUBLE).view(-1, 1)
    levels = torch.tensor([1e-6, 0.02, 0.5, 0.7, 0.99, 1 - 1e-6], **DOUBLE)
    polar, fast = Polar(kappa, dim), Polar(kappa, dim, torch.float32)
    angles = polar.quantile(levels.expand(17, 6), 1 - levels.expand(17, 6))
    torch.testing.assert_close(fast.slope(angles), polar.slope(angles), rtol=1e-6, atol=0)


@pytest.mark.parametrize("kappa", KAPPAS)
def test_native_samples_have_the_mean_cosine(kappa):
    """And so has their angle's CDF: KS on 5e4 draws, false fail 1e-7, .026 off passes at 1e-7."""
    k = torch.tensor(kappa)
    q = VonMises(torch.tensor(0.0), k)
    x = q.rsample((50_000,), Noise(generator=seeded(0)))
    level = Polar(k.double(), 2).tails(x.double().abs())[0].sort().values
    steps = (torch.arange(50_000, **DOUBLE) + 0.5) / 50_000
    assert (level - steps).abs().max() <= ks_bound(50_000)
    # A sign test: 5.4 standard deviations are exceeded at 1e-7.
    assert abs((x > 0).double().mean() - 0.5) < 5.4 * 0.5 / 50_000**0.5


def test_log_prob_and_variance_are_torchs():
    """Where torch's own are accurate; entropy and KL by quadrature."""
    loc, kappa = torch.tensor(0.4, **DOUBLE), torch.tensor(2.5, **DOUBLE)
    q, theirs = VonMises(loc, kappa), torch.distributions.VonMises(loc, kappa)
    x = q.icdf(u)
    torch.testing.assert_close(q.log_prob(x), theirs.log_prob(x), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(q.variance, theirs.variance, rtol=1e-6, atol=1e-6)
    p = VonMises(torch.tensor(-1.0, **DOUBLE), torch.tensor(0.7, **DOUBLE))
    kl = weights @ (q.log_prob(x) - p.log_prob(x))
    torch.testing.assert_close(torch.distributions.kl_divergence(q, p), kl, rtol=1e-10, atol=0)
    assert q.mode == q.mean == loc


def test_samples_stay_within_pi_of_loc():
    """Unwrapped, so that they move with loc; the cdf ends at both ends."""
    q = VonMises(torch.tensor(3.0), torch.tensor(0.1))
    x = q.sample((1000,))
    assert ((x - 3).abs() <= torch.pi + 1e-6).all()
    assert x.max() > torch.pi
    assert q.cdf(torch.tensor([3 - torch.pi, 3.0, 3 + torch.pi])).tolist() == pytest.approx(
        [0, 0.5, 1], abs=1e-6
    )


def unit(*numbers):
    """A direction."""
    return torch.nn.functional.normalize(torch.tensor(numbers, **DOUBLE), dim=0)


@pytest.mark.parametrize(
    "loc", [unit(1, 0), unit(-1, 0, 0), unit(0.2, -1, 0.5), unit(*range(1, 7))]
)
def test_fisher_samples_are_spread_as_their_density_says(loc):
    """Mean and covariance of 1e5 draws within 5.4 standard deviations (false fail 1e-7 each)."""
    q = VonMisesFisher(loc, torch.tensor(3.0, **DOUBLE))
    x = q.rsample((100_000,), Noise(generator=seeded(0)))
    assert q.support.check(x).all()
    assert ((x.mean(0) - q.mean).abs() <= 5.4 * (q.variance / 1e5).sqrt() + 1e-12).all()
    spread = (x - q.mean).square()
    error = (spread.mean(0) - q.variance).abs()
    assert (error <= 5.4 * spread.std(0) / 1e5**0.5).all()
    law = stats.vonmises_fisher(loc.numpy(), 3.0)
    expected = torch.as_tensor(law.logpdf(x[:50].numpy()))
    torch.testing.assert_close(q.log_prob(x[:50]), expected, rtol=1e-10, atol=1e-10)
    assert q.entropy().item() == pytest.approx(law.entropy(), rel=1e-10)


@pytest.mark.parametrize("d", [2, 3, 5])
def test_fisher_gradients_are_exact(d):
    """First and second, in direction and concentration, by differences at given uniforms."""
    noise = Noise(uniforms=torch.rand(5, d, generator=seeded(0), **DOUBLE))
    loc = torch.randn(d, generator=seeded(1), **DOUBLE).requires_grad_()

    def draw(loc, kappa):
        return VonMisesFisher(loc / loc.norm(), kappa).rsample((5,), noise)

    assert torch.autograd.gradcheck(draw, (loc, leaf(2.0)))
    assert torch.autograd.gradgradcheck(draw, (loc, leaf(2.0)))
    assert torch.autograd.gradcheck(draw, (unit(1, *[0] * (d - 1)).requires_grad_(), leaf(2.0)))


def test_fisher_gradient_is_that_of_the_mean():
    """E x = A(kappa) loc on the sphere: over a grid of given uniforms, to 1e-4."""
    grid = (torch.arange(200, **DOUBLE) + 0.5) / 200
    # Around loc only the angle of the two normals counts.
    turn = 2 * torch.pi * grid[::10]
    across = torch.special.ndtr(torch.stack([turn.cos(), turn.sin()], -1))
    noise = torch.cat([grid.repeat_interleave(20)[:, None], across.repeat(200, 1)], -1)
    loc, kappa = unit(0.6, 0.0, 0.8).requires_grad_(), leaf(2.0)
    q = VonMisesFisher(loc, kappa)
    mean = q.rsample((4000,), Noise(uniforms=noise)).mean(0)
    torch.testing.assert_close(mean, q.mean, rtol=0, atol=1e-4)
    got = torch.autograd.grad(mean @ unit(1, 2, 3), [loc, kappa])
    expected = torch.autograd.grad(q.mean @ unit(1, 2, 3), [loc, kappa])
    torch.testing.assert_close(got[1], expected[1], rtol=0, atol=1e-4)
    # What moves along loc leaves the sphere: only the tangent counts.
    tangent = unit(0.8, 0.0, -0.6), unit(0.0, 1.0, 0.0)
    for v in tangent:
        torch.testing.assert_close(got[0] @ v, expected[0] @ v, rtol=0, atol=1e-4)


@pytest.mark.parametrize("d", [2, 3, 100, 500])
@pytest.mark.parametrize("kappa", [0.0, 1e-3, 10.0, 1e4])
def test_fisher_is_finite_in_many_dimensions(d, kappa):
    """Samples, densities, gradients; KL to kappa 0, which is uniform, is a fall in entropy."""
    loc, k = unit(*[1.0] * d).float(), torch.tensor(kappa, requires_grad=True)
    q, flat = VonMisesFisher(loc, k), VonMisesFisher(loc, 0.0)
    x = q.rsample((20,), Noise(generator=seeded(0)))
    terms = [x.square().sum(), q.log_prob(x.detach()).sum(), q.entropy(), q.variance.sum()]
    kl = torch.distributions.kl_divergence(q, flat)
    for term in [x[:, 0].sum(), *terms, kl]:
        assert term.isfinite()
        assert torch.autograd.grad(term, k, retain_graph=True)[0].isfinite()
    torch.testing.assert_close(kl, flat.entropy() - q.entropy(), rtol=1e-4, atol=1e-4)


def test_fisher_batches_expand_and_refuse_what_is_no_direction():
    """Shapes broadcast; the messages say what was expected."""
    q = VonMisesFisher(torch.eye(3), torch.ones(2, 1), validate_args=True)
    assert q.batch_shape == (2, 3)
    assert q.expand((4, 2, 3)).rsample((5,)).shape == (5, 4, 2, 3, 3)
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        VonMisesFisher(torch.ones(3), 1.0, validate_args=True)
    with pytest.raises(ValueError, match=r"loc: expected directions .* with d >= 2"):
        VonMisesFisher(torch.ones(1), 1.0)
    with pytest.raises(ValueError, match="within the support"):
        q.log_prob(torch.ones(3))
