"""Student's t: what torch's has not, a cdf and its inverse, with gradients to all parameters."""

import math

import pytest
import torch
from scipy import stats

from reparam.distributions import StudentT

DOUBLE = {"dtype": torch.float64}
LEVELS = torch.tensor([1e-50, 1e-9, 0.02, 0.5, 0.7, 1 - 1e-9], **DOUBLE)


@pytest.mark.parametrize("df", [0.4, 1.0, 4.5, 1e3, 1e8])
def test_cdf_and_icdf_are_scipys(df):
    """To 1e-10, both tails; and the inverse of each other to 1e-12."""
    law, q = stats.t(df, 0.3, 1.2), StudentT(torch.tensor(df, **DOUBLE), 0.3, 1.2)
    x = q.icdf(LEVELS)
    torch.testing.assert_close(x, torch.as_tensor(law.ppf(LEVELS.numpy())), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(q.cdf(x), LEVELS, rtol=1e-11, atol=0)
    points = torch.linspace(-30, 30, 41, **DOUBLE)
    torch.testing.assert_close(
        q.cdf(points), torch.as_tensor(law.cdf(points.numpy())), rtol=1e-9, atol=1e-15
    )


@pytest.mark.parametrize("df", [0.4, 4.5, 300.0])
def test_the_slope_of_a_level_is_one_over_the_density(df):
    """At the centre too, where the two tails meet."""
    levels = LEVELS.clone().requires_grad_()
    q = StudentT(torch.tensor(df, **DOUBLE), 0.3, 1.2)
    x = q.icdf(levels)
    slope = torch.autograd.grad(x.sum(), levels)[0]
    # 1 - 1e-9 has 7 digits left of its distance to 1.
    torch.testing.assert_close(
        slope * q.log_prob(x.detach()).exp(), torch.ones_like(slope), rtol=1e-7, atol=0
    )
    at = torch.cat([x.detach(), q.loc[None]]).requires_grad_()
    density = torch.autograd.grad(q.cdf(at).sum(), at)[0]
    torch.testing.assert_close(density, q.log_prob(at.detach()).exp(), rtol=1e-9, atol=0)


def test_levels_end_at_the_ends():
    """Infinite at 0 and 1; the parameters' gradients stay numbers; batches broadcast."""
    df = torch.tensor([1.5, 6.0], requires_grad=True)
    x = StudentT(df).icdf(torch.tensor([[0.0], [0.5], [1.0]]))
    assert x[[0, 2]].tolist() == [[-math.inf] * 2, [math.inf] * 2]
    assert x[1].abs().max() < 1e-15
    assert x.dtype == torch.float32
    assert torch.autograd.grad(x[1].sum(), df)[0].abs().max() < 1e-15
    with pytest.raises(ValueError, match="within the support"):
        StudentT(3.0, validate_args=True).cdf(torch.tensor(torch.nan))
