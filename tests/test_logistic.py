"""rp.distributions.Logistic fills torch's Distribution protocol, rightly out to the tails."""

import math

import pytest
import torch
from scipy import stats

from acceptance import assert_follows, seeded
from reparam.distributions import Logistic
from reparam.noise import Noise

DOUBLE = {"dtype": torch.float64}
law = stats.logistic(0.7, 1.9)
q = Logistic(torch.tensor(0.7, **DOUBLE), torch.tensor(1.9, **DOUBLE))
x = torch.linspace(-60, 60, 121, **DOUBLE)


def test_densities_and_quantiles_are_scipys():
    """log_prob, cdf, icdf, moments and entropy."""
    u = torch.linspace(0.01, 0.99, 99, **DOUBLE)
    for got, expected in [
        (q.log_prob(x), law.logpdf(x.numpy())),
        (q.cdf(x), law.cdf(x.numpy())),
        (q.icdf(u), law.ppf(u.numpy())),
        (q.mean, law.mean()),
        (q.mode, 0.7),
        (q.variance, law.var()),
        (q.stddev, law.std()),
        (q.entropy(), law.entropy()),
    ]:
        torch.testing.assert_close(got, torch.as_tensor(expected, **DOUBLE), rtol=1e-11, atol=1e-12)


def test_the_log_density_is_finite_far_out():
    """At 1e4 scales, -1e4, with slopes of -1 and 1."""
    far = torch.tensor([-1e4, 0.0, 1e4], requires_grad=True)
    log_p = Logistic(0.0, 1.0).log_prob(far)
    assert log_p.tolist() == pytest.approx([-1e4, -2 * math.log(2), -1e4])
    assert torch.autograd.grad(log_p.sum(), far)[0].tolist() == [1, 0, -1]


def test_log_prob_has_exact_derivatives():
    """In the value, the location and the scale, twice."""
    inputs = [torch.tensor(v, **DOUBLE, requires_grad=True) for v in (1.3, 0.2, 0.8)]
    assert torch.autograd.gradgradcheck(lambda x, m, s: Logistic(m, s).log_prob(x), inputs)


def test_samples_follow_the_law_and_carry_gradients():
    """KS, 1e5 draws: false fail 1e-7; a CDF wrong by .018 (a scale by 8 %) passes at 1e-7."""
    loc, scale = (v.clone().requires_grad_() for v in (q.loc, q.scale))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        points = Logistic(loc, scale).rsample((1000, 100))
        assert not q.sample((2,)).requires_grad
    assert points.shape == (1000, 100)
    assert_follows(points, law.cdf)
    gradients = torch.autograd.grad(points.sum(), [loc, scale])
    assert gradients[0] == 1e5
    torch.testing.assert_close(gradients[1], ((points - 0.7) / 1.9).sum())


def test_levels_end_at_the_ends():
    """Infinite at 0 and 1, and no NaN passes from there to the parameters; float32 stays so."""
    scale = torch.tensor(2.0, requires_grad=True)
    x = Logistic(0.0, scale).icdf(torch.tensor([0.0, 0.75, 1.0]))
    assert x[[0, 2]].tolist() == [-math.inf, math.inf]
    assert x.dtype == torch.float32
    assert torch.autograd.grad(x[1], scale)[0].item() == pytest.approx(math.log(3))


def test_given_noise_drives_rsample():
    """Uniforms come out as quantiles, generators and keys repeat, and the two are exclusive."""
    u = torch.rand(3, 2, generator=seeded(0), **DOUBLE)
    wide = q.expand((2,))
    torch.testing.assert_close(wide.rsample((3,), Noise(uniforms=u)), wide.icdf(u))
    for source in ({"generator": seeded(1)}, {"key": 1}):
        first, second = (wide.rsample((3,), Noise(**source)) for _ in range(2))
        assert torch.equal(first, second) == ("key" in source)
    with pytest.raises(ValueError, match="expected one source of randomness"):
        wide.rsample((3,), Noise(seeded(0), key=1))


def test_shapes_broadcast_and_expand():
    """As torch's own distributions do."""
    wide = Logistic(torch.zeros(3, 1), torch.ones(2))
    assert wide.batch_shape == (3, 2)
    assert wide.rsample((5,)).shape == (5, 3, 2)
    assert wide.rsample().unique().numel() == 6
    expanded = Logistic(0.0, 1.0).expand((4, 3))
    assert expanded.batch_shape == (4, 3)
    assert expanded.rsample((2,)).shape == (2, 4, 3)
    assert expanded.log_prob(torch.zeros(4, 3)).shape == (4, 3)


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 0.0), (0.0, -1.0), (float("nan"), 1.0)])
def test_wrong_parameters_are_refused(loc, scale):
    """By torch's own validation."""
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        Logistic(loc, scale, validate_args=True)


def test_wrong_values_are_refused():
    """A NaN is outside the support."""
    for method in ("log_prob", "cdf"):
        with pytest.raises(ValueError, match="within the support"):
            getattr(Logistic(0.0, 1.0, validate_args=True), method)(torch.tensor(torch.nan))
