"""The tail of Student's t, against mpmath's incomplete beta function."""

import mpmath as mp
import pytest
import torch

from reparam.special.student_tail import student_tail

DOUBLE = {"dtype": torch.float64}


def truth(t, df):
    """P(T > t), and its derivatives in t and df; mpmath."""
    with mp.workdps(40):

        def tail(t, df):
            half = mp.mpf(1) / 2
            return mp.betainc(df / 2, half, 0, df / (df + t * t), regularized=True) / 2

        at = mp.mpf(t), mp.mpf(df)
        if t == 0:
            return 0.5, None, 0.0
        return float(tail(*at)), float(mp.diff(tail, at, (1, 0))), float(mp.diff(tail, at, (0, 1)))


@pytest.mark.parametrize("df", [1e-3, 0.1, 1.0, 2.5, 30.0, 1e3])
@pytest.mark.parametrize("t", [0.0, 0.01, 0.5, 3.0, 40.0, 1e6])
def test_values_and_slopes_keep_their_digits(t, df):
    """Values to 1e-13, densities to 1e-11, slopes in df to 1e-10 or to that of the value."""
    leaves = [torch.tensor(v, **DOUBLE, requires_grad=True) for v in (t, df)]
    value = student_tail(*leaves)
    slopes = torch.autograd.grad(value, leaves)
    expected, by_t, by_df = truth(t, df)
    assert value.item() == pytest.approx(expected, rel=1e-13, abs=1e-300)
    if by_t is not None:
        assert slopes[0].item() == pytest.approx(by_t, rel=1e-11, abs=1e-300)
    assert slopes[1].item() == pytest.approx(by_df, rel=1e-10, abs=1e-13)


def test_it_ends_where_the_normal_and_the_cauchy_do():
    """df = 1e9 is normal to 1e-8; what is infinite has no tail, and a gradient that is a number."""
    t = torch.tensor([0.3, 2.0, 5.0], **DOUBLE)
    normal = torch.special.ndtr(-t)
    torch.testing.assert_close(student_tail(t, torch.tensor(1e9)), normal, rtol=1e-6, atol=0)
    df = torch.tensor(1.0, **DOUBLE, requires_grad=True)
    far = student_tail(torch.tensor(torch.inf), df)
    assert far < 1e-149
    assert torch.autograd.grad(far, df)[0].isfinite()
