"""Functional operations: temperatures, masks, extremes, arguments; exact.

What does not depend on the noise is made so by masks that leave one class, or by one seed for both
sides of an equation.
"""

import re

import pytest
import torch
from torch import Tensor

from acceptance import seeded
from reparam.functional import (
    gumbel_max,
    gumbel_softmax,
    hard_argmax,
    soft_argmax,
    soft_step,
    straight_through,
)

HALVES = [torch.float16, torch.bfloat16]
INF, NAN = float("inf"), float("nan")
every_dtype = pytest.mark.parametrize("dtype", [*HALVES, torch.float32, torch.float64])


def leaf(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Standard normal values that require a gradient."""
    return torch.randn(shape, generator=seeded(seed), dtype=dtype).requires_grad_()


@every_dtype
@pytest.mark.parametrize("tau", [1.0, 1e-4, 1e-8, 1e-38, 1e-45])
@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("hard", [False, True])
def test_every_temperature_is_finite_forward_and_backward(dtype, tau, as_tensor, hard):
    """Also under a mask; fails only where 8 rows hold a true tie within 1e-7, at rate 1e-6."""
    logits = leaf(8, 5, dtype=dtype)
    temperature = torch.tensor(tau, dtype=dtype, requires_grad=True) if as_tensor else tau
    mask = torch.arange(5) != 1
    y = gumbel_softmax(logits, temperature, hard, mask=mask, generator=seeded(1))
    assert y.dtype == dtype
    assert y.isfinite().all()
    assert (y[:, 1] == 0).all()
    torch.testing.assert_close(y.double().sum(-1), torch.ones(8).double(), rtol=0, atol=1e-2)
    (y * torch.arange(5)).sum().backward()
    assert logits.grad.isfinite().all()
    if as_tensor:
        assert temperature.grad.isfinite()
    if tau < 1e-7:
        winner = gumbel_max(logits, mask=mask, generator=seeded(1))
        assert torch.equal(y, torch.nn.functional.one_hot(winner, 5).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tau", [1e-4, 1e-8, 1e-38, 1e-45])
def test_cold_extreme_logits_are_finite(dtype, tau):
    """Entries at +-1e4 and -inf, with a tie at the top, neither overflow nor turn to NaN."""
    z = torch.tensor([[1e4, 1e4, -1e4, -INF], [0.0, 1e4, 3.0, 1e4 - 1]], dtype=dtype)
    z.requires_grad_()
    temperature = torch.tensor(tau, dtype=dtype, requires_grad=True)
    y = soft_argmax(z, temperature)
    torch.testing.assert_close(y[0], torch.tensor([0.5, 0.5, 0, 0], dtype=dtype))
    torch.testing.assert_close(y[1], torch.tensor([0.0, 1, 0, 0], dtype=dtype))
    (y * torch.tensor([1.0, 0.5, -1, 2])).sum().backward()
    assert z.grad.isfinite().all()
    assert temperature.grad.isfinite()


@every_dtype
@pytest.mark.parametrize("tau", [0.0, 0, torch.tensor(0.0)])
@pytest.mark.parametrize("hard", [False, True])
def test_zero_temperature_is_the_one_hot_with_zero_gradient(dtype, tau, hard):
    """The gradient exists and is zero: a loss annealed to tau = 0 still runs backward."""
    logits = leaf(16, 5, dtype=dtype)
    y = gumbel_softmax(logits, tau, hard, generator=seeded(1))
    winner = gumbel_max(logits, generator=seeded(1))
    assert torch.equal(y, torch.nn.functional.one_hot(winner, 5).to(dtype))
    y.square().sum().backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("tau", [INF, 1e300, torch.tensor(INF)])
def test_infinite_temperature_is_uniform_over_the_allowed(tau):
    """Without NaN under a mask."""
    y = gumbel_softmax(torch.zeros(3, 4), tau, mask=torch.tensor([True, True, False, True]))
    torch.testing.assert_close(y, torch.tensor([1.0, 1, 0, 1]).expand(3, 4) / 3)


@pytest.mark.parametrize("tau", [-1.0, NAN, torch.tensor(-1.0), torch.tensor([1.0, NAN])])
def test_a_temperature_below_zero_is_refused(tau):
    """Negative temperatures would silently invert the distribution."""
    with pytest.raises(ValueError, match="tau: expected a temperature >= 0"):
        gumbel_softmax(torch.zeros(2, 3), tau)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 4), (3, 1)])
@pytest.mark.parametrize("dim", [-1, 0, 1])
def test_a_tensor_temperature_belongs_to_batch_rows(shape, dim):
    """Each row has the softmax of its own temperature, wherever the classes lie."""
    z = leaf(3, 4, 5)
    tau = torch.rand(shape, generator=seeded(2), dtype=torch.float64) + 0.1
    y = soft_argmax(z.movedim(-1, dim), tau, dim).movedim(dim, -1)
    expected = torch.softmax(z / tau.expand(3, 4).unsqueeze(-1), -1)
    torch.testing.assert_close(y, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("shape", [(5,), (3,), (3, 4, 5), (3, 4, 1), (2, 4)])
def test_a_temperature_that_does_not_fit_the_batch_is_refused(shape):
    """A temperature per class is an error, never a silent broadcast."""
    message = re.escape(f"batch shape (3, 4) (the classes share one temperature), got {shape}")
    with pytest.raises(ValueError, match=message):
        gumbel_softmax(torch.zeros(3, 4, 5), torch.ones(shape))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("tau", [1.0, 0.1, 0.01])
def test_masked_entries_leave_no_trace_in_any_gradient(dtype, tolerance, tau):
    """Value and gradients of z and tau are those of the sub-vector that is allowed."""
    z, weight = leaf(6, dtype=dtype), torch.linspace(-1, 2, 6, dtype=dtype)
    mask = torch.tensor([True, False, True, True, False, True])
    results = []
    for entries, weights in ((z.masked_fill(~mask, -INF), weight), (z[mask], weight[mask])):
        temperature = torch.tensor(tau, dtype=dtype, requires_grad=True)
        loss = (soft_argmax(entries, temperature) * weights).sum()
        results.append((loss, *torch.autograd.grad(loss, [z, temperature])))
    for masked, alone in zip(*results, strict=True):
        torch.testing.assert_close(masked, alone, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("hard", [False, True])
def test_a_learned_temperature_has_the_gradient_of_the_soft_sample(hard):
    """Against the difference quotient of the soft sample under the same noise and mask."""
    logits, mask = leaf(7, 5), torch.rand(7, 5, generator=seeded(4)) < 0.7
    mask[:, 0] = True
    weight = leaf(7, 5, seed=1).detach()

    def loss(tau: Tensor, hard: bool) -> Tensor:
        return (gumbel_softmax(logits, tau, hard, mask=mask, generator=seeded(3)) * weight).sum()

    tau = torch.full((7,), 0.6, dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.grad(loss(tau, hard), tau)[0]
    for row in range(7):
        step = 1e-5 * torch.nn.functional.one_hot(torch.tensor(row), 7)
        quotient = (loss(tau + step, False) - loss(tau - step, False)) / 2e-5
        torch.testing.assert_close(gradient[row], quotient, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("tau", [1.0, 0.0, 1e-45])
@pytest.mark.parametrize("hard", [False, True])
def test_an_empty_row_can_be_zero_and_disturbs_no_other(tau, hard):
    """Its value and its gradient are zero; the other rows are what they are without it."""
    logits = leaf(3, 4)
    mask = torch.ones(3, 4).bool()
    full = gumbel_softmax(logits, tau, hard, mask=mask, generator=seeded(0))
    mask[1] = False
    y = gumbel_softmax(logits, tau, hard, mask=mask, empty="zero", generator=seeded(0))
    assert torch.equal(y, full * mask)
    y.square().sum().backward()
    assert logits.grad.isfinite().all()
    assert torch.equal(logits.grad[1], torch.zeros(4))


@pytest.mark.parametrize("sample", [gumbel_softmax, gumbel_max])
def test_an_empty_row_is_refused_by_default(sample):
    """Whether it came from a mask or from -inf."""
    logits = torch.zeros(3, 4)
    logits[2] = -INF
    mask = torch.tensor([[True], [False], [True]])
    with pytest.raises(ValueError, match="got 2 of 3 rows with none"):
        sample(logits, mask=mask)


@every_dtype
@pytest.mark.parametrize("sample", [gumbel_softmax, gumbel_max])
@pytest.mark.parametrize("bad", [(NAN, NAN, INF), (INF,), (NAN,)])
def test_logits_that_are_nan_or_infinite_are_refused(sample, bad, dtype):
    """The message counts both kinds and gives the shape."""
    logits = torch.zeros(3, 4, dtype=dtype)
    logits[0, : len(bad)] = torch.tensor(bad, dtype=dtype)
    nan = sum(value != value for value in bad)  # noqa: PLR0124
    message = re.escape(f"got {nan} NaN and {len(bad) - nan} +inf among 12 of shape (3, 4)")
    with pytest.raises(ValueError, match=message):
        sample(logits)
    sample(logits, validate=False)


@pytest.mark.parametrize("sample", [gumbel_softmax, gumbel_max])
@pytest.mark.parametrize(
    ("logits", "options", "error", "message"),
    [
        (torch.zeros(2, 0), {}, ValueError, "at least one class along dim -1"),
        (torch.zeros(()), {}, ValueError, "at least one class"),
        (torch.zeros(2, 3).int(), {}, TypeError, "logits: expected a real floating-point"),
        (torch.zeros(2, 3).cfloat(), {}, TypeError, "logits: expected a real floating-point"),
        (torch.zeros(2, 3), {"mask": torch.ones(3)}, TypeError, "mask: expected a boolean"),
        (
            torch.zeros(2, 3),
            {"mask": [True] * 3},
            TypeError,
            "mask: expected a boolean .* got list",
        ),
        (torch.zeros(2, 3), {"dim": 2}, IndexError, r"dim: expected one .* from -2 to 1, got 2"),
        (
            torch.zeros(2, 3),
            {"dim": -3},
            IndexError,
            r"the 2 dimensions of shape \(2, 3\), .* -3",
        ),
        (torch.zeros(2, 3), {"mask": torch.ones(4).bool()}, ValueError, "mask: expected a shape"),
        (torch.zeros(3), {"mask": torch.ones(2, 3).bool()}, ValueError, "mask: expected a shape"),
    ],
)
def test_wrong_arguments_are_refused(sample, logits, options, error, message):
    """With the argument's name, and what was expected of it."""
    with pytest.raises(error, match=message):
        sample(logits, **options)


def test_an_unknown_treatment_of_empty_rows_is_refused():
    """The message lists both."""
    with pytest.raises(ValueError, match="empty: expected 'error' or 'zero', got 'nan'"):
        gumbel_softmax(torch.zeros(3), empty="nan")


@every_dtype
@pytest.mark.parametrize("shift", [1e8, -1e8, 3e38])
def test_a_common_shift_changes_no_sample(shift, dtype):
    """Equal logits of any size are sampled as zeros are: the noise keeps its digits."""
    largest = torch.finfo(dtype).max
    logits = torch.full((500, 4), min(max(shift, -largest), largest), dtype=dtype)
    for sample in (gumbel_softmax, gumbel_max):
        unshifted = sample(torch.zeros_like(logits), generator=seeded(0))
        assert torch.equal(sample(logits, generator=seeded(0)), unshifted)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("hard", [False, True])
def test_half_precision_samples_as_float32_does_and_is_cast_once(dtype, hard):
    """The same noise, the same winner, and the soft sample rounded at the very end."""
    logits = leaf(1000, 8, dtype=dtype)
    wide = logits.float()
    expected = gumbel_softmax(wide, 0.3, hard, generator=seeded(0))
    assert torch.equal(gumbel_softmax(logits, 0.3, hard, generator=seeded(0)), expected.to(dtype))
    index = gumbel_max(wide, generator=seeded(0))
    assert torch.equal(gumbel_max(logits, generator=seeded(0)), index)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("tau", [1.0, 0.1, 1e-3])
def test_a_soft_argmax_of_half_precision_is_right_to_its_last_bit(dtype, tau):
    """The softmax runs in float32, whatever its input; so does the two-class one."""
    z = leaf(50, 6, dtype=dtype).detach()
    torch.testing.assert_close(soft_argmax(z, tau), torch.softmax(z.double() / tau, -1).to(dtype))
    torch.testing.assert_close(soft_step(z, tau), torch.sigmoid(z.double() / tau).to(dtype))


@every_dtype
@pytest.mark.parametrize("shape", [(3, 1), (1,), (0, 4), (2, 0, 4)])
def test_one_class_and_no_rows_are_fine(shape, dtype):
    """One class is certain; no rows give no rows."""
    logits = torch.zeros(shape, dtype=dtype, requires_grad=True)
    y, index = gumbel_softmax(logits), gumbel_max(logits)
    assert y.shape == shape
    assert y.dtype == dtype
    assert index.shape == shape[:-1]
    if shape[-1] == 1:
        assert torch.equal(y, torch.ones_like(y))
        assert (index == 0).all()
    assert torch.equal(torch.autograd.grad(y.sum(), logits)[0], torch.zeros_like(logits))


@pytest.mark.parametrize("dim", [0, 1, 2, -2])
@pytest.mark.parametrize("hard", [False, True])
def test_masked_entries_never_win_along_any_dimension(dim, hard):
    """One allowed class per row leaves one outcome, for views as for contiguous logits."""
    winner = torch.randint(5, (6, 7), generator=seeded(0))
    expected = torch.nn.functional.one_hot(winner, 5).movedim(-1, dim)
    logits = (100 * torch.randn(6, 7, 5, generator=seeded(1))).movedim(-1, dim)
    for view in (logits, logits.contiguous()):
        y = gumbel_softmax(view, 0.5, hard, dim, mask=expected.bool())
        assert torch.equal(y, expected.float())
        assert torch.equal(gumbel_max(view, dim, mask=expected.bool()), winner)
        assert torch.equal(gumbel_max(view.masked_fill(expected == 0, -INF), dim), winner)


def test_straight_through_has_the_hard_value_and_the_soft_gradient():
    """Exactly, also where (hard + soft) - soft would round."""
    soft = torch.tensor([1e-9, 0.3, 3e7], requires_grad=True)
    hard = torch.tensor([1.0, 0.1, 1e-3], requires_grad=True)
    y = straight_through(hard, soft)
    assert torch.equal(y, hard)
    (y * torch.tensor([1.0, 2, 3])).sum().backward()
    assert soft.grad.tolist() == [1, 2, 3]
    assert hard.grad is None
    with pytest.raises(ValueError, match=re.escape("hard (3,) and soft (2,)")):
        straight_through(hard, soft[:2])


def test_hard_argmax_takes_the_first_among_equals_without_a_gradient():
    """Along any dimension, in the dtype given."""
    z = torch.tensor([[1.0, 3, 3], [-INF, -INF, 2]], dtype=torch.bfloat16, requires_grad=True)
    assert hard_argmax(z).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert hard_argmax(z, 0).tolist() == [[1, 1, 1], [0, 0, 0]]
    assert hard_argmax(z).dtype == torch.bfloat16
    assert not hard_argmax(z).requires_grad


@pytest.mark.parametrize("tau", [1.0, 0.1, 0.0, torch.tensor([0.5, 2.0])])
def test_soft_step_is_the_tempered_sigmoid(tau):
    """sigmoid(z / tau), and the step itself at 0."""
    z = torch.tensor([[-3.0, 0.5], [1e4, -1e4]], dtype=torch.float64)
    expected = (z > 0).double() if isinstance(tau, float) and tau == 0 else torch.sigmoid(z / tau)
    torch.testing.assert_close(soft_step(z, tau), expected)
