"""The inverse Gaussian in every regime: entropy, levels and divergences against mpmath."""

import mpmath as mp
import pytest
import torch
from torch.distributions import kl_divergence

from reparam.distributions import InverseGaussian

DOUBLE = {"dtype": torch.float64}


def built(loc, concentration):
    """A distribution, and its parameters."""
    leaves = [torch.tensor(v, **DOUBLE, requires_grad=True) for v in (loc, concentration)]
    return InverseGaussian(*leaves), leaves


def entropy(loc, concentration):
    """By definition, over log x: an mpmath quadrature."""
    m, c = mp.mpf(loc), mp.mpf(concentration)

    def log_p(x):
        return (mp.log(c / (2 * mp.pi)) - 3 * mp.log(x) - c * (x - m) ** 2 / (m * m * x)) / 2

    # Between the two x with c (x - m)^2 / (m^2 x) = 400, and closely around the mode.
    mode = m * (mp.sqrt(1 + (1.5 * m / c) ** 2) - 1.5 * m / c)
    width = min(mp.sqrt(m / c), mp.mpf(1))
    cuts = [mp.log(mode) + k * width for k in (-40, -16, -6, -2, 0, 2, 6, 16, 40)]
    y = 200 * m / c
    half = mp.log1p(y + mp.sqrt(y * (2 + y)))
    ends = mp.log(m) - half, mp.log(m) + half
    path = sorted({*(x for x in cuts if ends[0] < x < ends[1]), *ends})
    return mp.quad(lambda y: -log_p(mp.exp(y)) * mp.exp(log_p(mp.exp(y)) + y), path)


@pytest.mark.parametrize(
    ("loc", "concentration"),
    [(0.8, 2.5), (1.0, 1e-3), (3.0, 0.2), (2.0, 1e4), (1.0, 1e9), (1e5, 1.0)],
)
def test_the_entropy_is_that_of_the_density(loc, concentration):
    """To 1e-12, and its gradient to 1e-8, with concentration / loc from 1e-5 to 1e9."""
    q, leaves = built(loc, concentration)
    h = q.entropy()
    with mp.workdps(30):
        assert h.item() == pytest.approx(float(entropy(loc, concentration)), rel=1e-12, abs=1e-12)
        exact = [float(mp.diff(entropy, (loc, concentration), order)) for order in ((1, 0), (0, 1))]
    got = [g.item() for g in torch.autograd.grad(h, leaves)]
    assert got == pytest.approx(exact, rel=1e-8)


def test_the_entropy_neither_over_nor_underflows():
    """Of a nearly certain value it is a normal's; of a nearly inverse gamma, that one's."""
    m, c = torch.tensor(2.0), torch.tensor([1e6, 1e12, 1e30])
    normal = torch.distributions.Normal(m, (m**3 / c).sqrt())
    torch.testing.assert_close(InverseGaussian(m, c).entropy(), normal.entropy())
    heavy = torch.distributions.InverseGamma(torch.tensor(0.5), torch.tensor(0.5))
    torch.testing.assert_close(
        InverseGaussian(torch.tensor(1e30), torch.tensor(1.0)).entropy(), heavy.entropy()
    )


def test_levels_end_at_the_ends():
    """0 and infinity, without a gradient; in between, dx/du = 1 / p also far out."""
    q, leaves = built(0.8, 2.5)
    levels = torch.tensor([0.0, 1e-200, 1e-9, 0.5, 1 - 1e-12, 1.0], **DOUBLE, requires_grad=True)
    x = q.icdf(levels)
    assert (x[0].item(), x[-1].item()) == (0, torch.inf)
    gradients = torch.autograd.grad(x[1:-1].sum(), [levels, *leaves])
    assert all(g.isfinite().all() for g in gradients)
    p = q.log_prob(x[1:-1].detach()).exp()
    torch.testing.assert_close(gradients[0][1:-1], 1 / p, rtol=1e-9, atol=0)
    assert gradients[0][[0, -1]].tolist() == [0, 0]


def test_the_divergence_is_that_of_the_densities():
    """Against mpmath, and 0 to itself."""
    q, p = built(0.8, 2.5)[0], built(1.7, 0.9)[0]
    m, c, n, d = (mp.mpf(v) for v in (0.8, 2.5, 1.7, 0.9))

    def log_p(x, m, c):
        return (mp.log(c / (2 * mp.pi)) - 3 * mp.log(x) - c * (x - m) ** 2 / (m * m * x)) / 2

    exact = mp.quad(
        lambda x: mp.exp(log_p(x, m, c)) * (log_p(x, m, c) - log_p(x, n, d)),
        [0, 0.1, 0.5, 1, 2, 5, 20, 60],
    )
    assert kl_divergence(q, p).item() == pytest.approx(float(exact), rel=1e-12)
    assert kl_divergence(q, q) == 0


def test_wrong_parameters_and_values_are_refused():
    """By torch's own validation."""
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        InverseGaussian(0.0, 1.0, validate_args=True)
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        InverseGaussian(1.0, -1.0, validate_args=True)
    for method in ("log_prob", "cdf"):
        with pytest.raises(ValueError, match="within the support"):
            getattr(InverseGaussian(1.0, 1.0, validate_args=True), method)(torch.tensor(-1.0))
