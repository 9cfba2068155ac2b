"""The truncated normal keeps its digits however far out its interval lies."""

import mpmath as mp
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from acceptance import seeded
from reparam.distributions import TruncatedNormal
from reparam.noise import Noise

DOUBLE = {"dtype": torch.float64}
INFINITY = float("inf")
INTERVALS = [
    (-1.0, 2.0),
    (-INFINITY, 0.5),
    (-3.0, 40.0),
    (10.0, INFINITY),
    (-INFINITY, -12.0),
    (30.0, 31.0),
    (-50.0, -49.99),
    (1000.0, INFINITY),
    (0.3, 0.3 + 1e-5),
]
t = torch.arange(-7.5, 7.505, 0.01, **DOUBLE)
u = torch.special.ndtr(t)
weights = torch.exp(-t.square() / 2) * 0.01 / (2 * torch.pi) ** 0.5


def built(low, high):
    """A standard one, and its four parameters."""
    leaves = [torch.tensor(v, **DOUBLE, requires_grad=True) for v in (0.0, 1.0, low, high)]
    return TruncatedNormal(*leaves), leaves


def moments(low, high):
    """E x, Var x, entropy, log of the probability between the bounds, by mpmath."""
    with mp.workdps(60):
        a, b = mp.mpf(low), mp.mpf(high)
        c = min(max(a, 0), b)
        cuts = [c + sign * mp.mpf(k) / (abs(c) + 1) for k in (1, 3, 10, 40) for sign in (-1, 1)]
        path = [a, *sorted(x for x in [c, *cuts] if a < x < b), b]
        mass, first, second = (
            mp.quad(lambda x, k=k: (x - c) ** k * mp.exp((c * c - x * x) / 2), path)
            for k in range(3)
        )
        mean, square = first / mass, second / mass
        entropy = mp.log(mass) + c * mean + square / 2
        log_mass = mp.log(mass) - c * c / 2 - mp.log(2 * mp.pi) / 2
        return [float(x) for x in (c + mean, square - mean * mean, entropy, log_mass)]


@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_moments_and_densities_keep_their_digits(low, high):
    """Against mpmath: to 1e-11, and densities to the rounding of their square."""
    q, _ = built(low, high)
    mean, variance, entropy, log_mass = moments(low, high)
    assert q.mean.item() == pytest.approx(mean, rel=1e-13)
    assert q.variance.item() == pytest.approx(variance, rel=1e-11)
    assert q.entropy().item() == pytest.approx(entropy, rel=1e-11)
    x = q.icdf(torch.tensor(0.3, **DOUBLE))
    expected = -(x.item() ** 2) / 2 - mp.log(2 * mp.pi) / 2 - log_mass
    assert q.log_prob(x).item() == pytest.approx(float(expected), abs=1e-14 * (1 + mean**2))


@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_samples_and_their_gradients_keep_their_digits(low, high):
    """E x and its gradient in all four parameters, by quadrature over the quantiles."""
    q, leaves = built(low, high)
    x = q.rsample((len(u),), Noise(uniforms=u))
    assert ((x >= q.low) & (x <= q.high)).all()
    width = q.stddev.item()
    value = weights @ (x - q.mean.detach())
    assert abs(value.item()) <= 1e-11 * width + 8 * 2.3e-16 * abs(q.mean.item())
    got = torch.autograd.grad(value, leaves)
    expected = torch.autograd.grad(q.mean, leaves)
    for a, b in zip(got, expected, strict=True):
        # In a tail the bound takes nearly all: what is left to loc is about 1 / bound^2.
        assert a.item() == pytest.approx(b.item(), rel=1e-7, abs=1e-12)
    torch.testing.assert_close(q.cdf(x), u, rtol=0, atol=1e-9)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_float32_samples_are_spread_far_out(sign):
    """At 10, 100 and 1000 scales, half are within log 2 / bound of it: a sign test, 1e-7."""
    for bound in (10.0, 100.0, 1000.0):
        low, high = sorted((sign * bound, sign * INFINITY))
        q = TruncatedNormal(torch.tensor(0.0), torch.tensor(1.0), low, high)
        x = q.sample((20_000,), Noise(generator=seeded(0)))
        middle = built(low, high)[0].icdf(torch.tensor(0.5, **DOUBLE))
        beyond = ((x.double() - middle) * sign > 0).double().mean()
        rounding = 1e-7 * bound * bound
        assert abs(beyond - 0.5) < 5.4 * 0.5 / 20_000**0.5 + rounding


def test_rounding_leads_out_of_no_bound():
    """At the ends of 1000 random intervals, in both dtypes."""
    for dtype in (torch.float32, torch.float64):
        loc, scale, low, width = torch.rand(4, 1000, generator=seeded(0), dtype=dtype)
        q = TruncatedNormal(loc, scale, low, low + width)
        x = q.rsample(
            (2,),
            Noise(uniforms=torch.tensor([1e-300, 1 - 1e-16], **DOUBLE)[:, None].expand(2, 1000)),
        )
        assert ((x >= q.low) & (x <= q.high)).all()


def test_levels_end_at_the_bounds():
    """There a point moves with its bound and nothing else, and an open end is infinite."""
    q, leaves = built(-1.0, INFINITY)
    ends = q.icdf(torch.tensor([0.0, 1.0], **DOUBLE))
    assert ends.tolist() == [-1.0, INFINITY]
    assert [g.item() for g in torch.autograd.grad(ends[0], leaves)] == [0, 0, 1, 0]


@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_a_level_moves_its_point_by_one_over_the_density(low, high):
    """In every interval, to 1e-11 and what rounding of the point makes of its density."""
    q, _ = built(low, high)
    levels = torch.tensor([1e-9, 0.3, 0.9], **DOUBLE, requires_grad=True)
    x = q.icdf(levels)
    slope = torch.autograd.grad(x.sum(), levels)[0]
    rounding = 4e-16 * q.mean.item() ** 2
    one = torch.ones_like(slope)
    torch.testing.assert_close(
        slope * q.log_prob(x.detach()).exp(), one, rtol=1e-11 + rounding, atol=0
    )


def test_divergences_are_those_of_the_densities():
    """To truncated and plain normals, by quadrature; infinite where the support is not covered."""
    q = TruncatedNormal(*(torch.tensor(v, **DOUBLE) for v in (0.4, 1.5, -1.0, 2.0)))
    x = q.icdf(u)
    wide = TruncatedNormal(*(torch.tensor(v, **DOUBLE) for v in (-0.3, 0.8, -1.5, INFINITY)))
    plain = Normal(torch.tensor(1.0, **DOUBLE), torch.tensor(2.0, **DOUBLE))
    for other in (wide, plain):
        expected = weights @ (q.log_prob(x) - other.log_prob(x))
        torch.testing.assert_close(kl_divergence(q, other), expected, rtol=1e-10, atol=0)
    assert kl_divergence(wide, q) == INFINITY


def test_wrong_bounds_and_values_are_refused():
    """The messages say what was expected."""
    message = "low, high: expected low < high, got 1 of 2 pairs otherwise"
    with pytest.raises(ValueError, match=message):
        TruncatedNormal(0.0, 1.0, torch.tensor([0.0, 2.0]), 2.0, validate_args=True)
    q = TruncatedNormal(0.0, 1.0, -1.0, 2.0, validate_args=True)
    with pytest.raises(ValueError, match="within the support"):
        q.log_prob(torch.tensor(3.0))
    loose = TruncatedNormal(0.0, 1.0, -1.0, 2.0, validate_args=False)
    assert loose.log_prob(torch.tensor(3.0)) == -INFINITY
    assert loose.mode == 0
    assert TruncatedNormal(0.0, 1.0, 1.0, 2.0).mode == 1
