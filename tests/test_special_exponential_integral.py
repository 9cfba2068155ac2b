"""The scaled exponential integral and its derivatives, against mpmath from 1e-100 to 1e100."""

import mpmath as mp
import pytest
import torch

from reparam.special.exponential_integral import scaled_exponential_integral

EXPONENTS = [-100, -10, -3, -1, 0, 0.3, 1, 2, 4, 10, 100]


def truth(x):
    """F(x) = e^x E_1(x), F' = F - 1 / x and F'' = F' + 1 / x^2, with digits to lose."""
    with mp.workdps(60 if x < 1e5 else 450):
        x = mp.mpf(x)
        if x < 1e5:
            value = mp.exp(x) * mp.e1(x)
        else:  # its asymptotic series
            value = mp.fsum((-1) ** k * mp.factorial(k) / x ** (k + 1) for k in range(12))
        slope = value - 1 / x
        return [float(v) for v in (value, slope, slope + 1 / x**2)]


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_values_and_derivatives_keep_their_digits(exponent):
    """To 1e-14 of each, though F - 1 / x cancels for large x."""
    x = torch.tensor(10.0**exponent, dtype=torch.float64, requires_grad=True)
    value = scaled_exponential_integral(x)
    (slope,) = torch.autograd.grad(value, x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, x)
    got = [v.item() for v in (value, slope, curvature)]
    assert got == pytest.approx(truth(x.item()), rel=1e-14, abs=0)


def test_shapes_and_transforms():
    """Elementwise, in float64, under vmap and forward mode too."""
    x = torch.rand(2, 3) + 0.1
    y = scaled_exponential_integral(x)
    assert (y.shape, y.dtype) == ((2, 3), torch.float64)
    torch.testing.assert_close(torch.func.vmap(scaled_exponential_integral)(x), y)
    _, tangent = torch.func.jvp(scaled_exponential_integral, (x,), (torch.ones_like(x),))
    torch.testing.assert_close(tangent, y - 1 / x.double())
