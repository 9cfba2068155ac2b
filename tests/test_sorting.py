"""soft_sort and neural_sort: the published formulas in float64 are their oracle."""

import itertools
import re

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from acceptance import seeded
from reparam.functional import neural_sort, soft_sort

INF, NAN = float("inf"), float("nan")
HALVES = [torch.float16, torch.bfloat16]


def published_soft_sort(s: Tensor, tau: Tensor | float) -> Tensor:
    """softmax(-|sort(s) 1' - 1 s'| / tau), one temperature for each matrix."""
    distances = (s.sort(-1, descending=True)[0].unsqueeze(-1) - s.unsqueeze(-2)).abs()
    return torch.softmax(-distances / _per_matrix(tau), -1)


def published_neural_sort(s: Tensor, tau: Tensor | float) -> Tensor:
    """softmax(((n + 1 - 2i) s - A_s 1) / tau), A_s[i, j] = |s_i - s_j|."""
    n = s.shape[-1]
    total = (s.unsqueeze(-1) - s.unsqueeze(-2)).abs().sum(-1)
    weight = torch.arange(n - 1, -n, -2).unsqueeze(-1)
    return torch.softmax((weight * s.unsqueeze(-2) - total.unsqueeze(-2)) / _per_matrix(tau), -1)


def _per_matrix(tau: Tensor | float) -> Tensor | float:
    return tau[..., None, None] if isinstance(tau, Tensor) else tau


PUBLISHED = {soft_sort: published_soft_sort, neural_sort: published_neural_sort}
each = pytest.mark.parametrize("operation", PUBLISHED, ids=lambda f: f.__name__)


def scores(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal values in float64."""
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def value_and_gradients(operation, *leaves: Tensor) -> list[Tensor]:
    """Of scores and temperature, under a weight for each entry of the matrix."""
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    p = operation(*leaves)
    weight = scores(*p.shape, seed=1).to(p.dtype)
    return [p.detach(), *torch.autograd.grad((p * weight).sum(), leaves)]


@each
@pytest.mark.parametrize("n", [1, 2, 3, 8, 40])
def test_value_and_gradients_are_those_of_the_publication(operation, n):
    """In the scores and in a temperature for each matrix of the batch."""
    arguments = scores(2, 3, n), torch.tensor([0.3, 1.0, 4.0]).double()
    got, truth = (value_and_gradients(f, *arguments) for f in (operation, PUBLISHED[operation]))
    for a, b in zip(got, truth, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@each
@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_derivatives(operation, check):
    """First and second, against finite differences."""
    x, tau = scores(2, 4).requires_grad_(), torch.tensor([0.7, 1.3]).double().requires_grad_()
    assert check(operation, (x, tau))


@each
def test_rows_are_stochastic_and_peak_at_the_sorted_scores(operation):
    """At every temperature; as it falls they become the permutation that sorts."""
    x = scores(7, 6)
    order = x.argsort(-1, descending=True)
    sorting = torch.nn.functional.one_hot(order, 6).double()
    for tau in (2.0, 0.5, 0.05):
        p = operation(x, tau)
        assert (p > 0).all() or tau < 0.1
        torch.testing.assert_close(p.sum(-1), torch.ones(7, 6).double())
        assert torch.equal(p.argmax(-1), order)
    for tau in (1e-4, 1e-38, 1e-45, 0.0, torch.tensor(0.0)):
        torch.testing.assert_close(operation(x, tau), sorting)
    torch.testing.assert_close((sorting @ x.unsqueeze(-1)).squeeze(-1), x.sort(-1)[0].flip(-1))


@each
@pytest.mark.parametrize("tau", [1.0, 1e-3])
def test_hard_is_the_permutation_with_the_soft_gradient(operation, tau):
    """Exactly 0 and 1 forward, bit for bit the relaxed gradient backward."""
    x, order = scores(5, 6), scores(5, 6).argsort(-1, descending=True)
    hard = value_and_gradients(lambda s: operation(s, tau, hard=True), x)
    soft = value_and_gradients(lambda s: operation(s, tau), x)
    assert torch.equal(hard[0], torch.nn.functional.one_hot(order, 6).double())
    assert torch.equal(hard[1], soft[1])


@each
def test_equal_scores_share_and_are_told_apart_by_index_where_hard(operation):
    """Rows of equal scores are equal; hard and at tau = 0, still a permutation."""
    x = torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0])
    for tau in (1.0, 1e-6):
        p = operation(x, tau)
        torch.testing.assert_close(p[:, 1], p[:, 3])
        torch.testing.assert_close(p[:, 0], p[:, 4])
        if tau < 1:
            torch.testing.assert_close(p[0], torch.tensor([0, 0.5, 0, 0.5, 0]))
            torch.testing.assert_close(p[3], torch.tensor([1.0, 0, 1, 0, 1]) / 3)
    for p in (operation(x, 1.0, hard=True), operation(x, 0.0), operation(x, torch.tensor(0.0))):
        assert p.argmax(-1).tolist() == [1, 3, 0, 2, 4]
        assert torch.equal(p.sum(-2), torch.ones(5))
    assert torch.equal(operation(torch.zeros(1000), hard=True), torch.eye(1000))


@each
def test_the_gradient_does_not_look_at_indices(operation):
    """Also among equal scores, where |x| has slope 0: permuted scores, permuted gradient."""
    for x in (torch.zeros(4).double(), torch.tensor([1.0, 0, 1, 3]).double(), scores(4)):
        truth = value_and_gradients(PUBLISHED[operation], x, torch.tensor(0.7).double())
        got = value_and_gradients(operation, x, torch.tensor(0.7).double())
        for a, b in zip(got, truth, strict=True):
            torch.testing.assert_close(a, b)


@each
def test_minus_infinity_comes_last_and_leaves_no_trace(operation):
    """The other rows, and the gradients, are those of the scores without it."""
    tau = torch.tensor(0.7).double()
    kept = scores(4)
    x = torch.tensor([kept[0], -INF, kept[1], kept[2], -INF, kept[3]]).double()
    leaves = x.clone().requires_grad_(), tau.clone().requires_grad_()
    p = operation(*leaves)
    weight = scores(4, 4, seed=1)
    got = torch.autograd.grad((p[:4, [0, 2, 3, 5]] * weight).sum(), leaves)
    truth = value_and_gradients(operation, kept, tau)
    torch.testing.assert_close(p[:4, [0, 2, 3, 5]], truth[0])
    torch.testing.assert_close(got[0][[0, 2, 3, 5]], truth[1])
    torch.testing.assert_close(got[1], truth[2])
    assert not got[0][[1, 4]].any()
    torch.testing.assert_close(p[4:], torch.tensor([0, 0.5, 0, 0, 0.5, 0]).double().expand(2, 6))


@each
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32, torch.float64])
@pytest.mark.parametrize("tau", [1.0, 1e-4, 1e-8, 1e-38, 1e-45, 0.0])
@pytest.mark.parametrize("learned", [False, True])
def test_extremes_are_never_nan(operation, dtype, tau, learned):
    """Scores up to the largest of the dtype, in value and in gradients."""
    top = torch.finfo(dtype).max
    rows = [[3, -INF, top, -top, 2, 2], [0, 0, 1e-6, 1e4, -1e4, 1]]
    x = torch.tensor(rows, dtype=torch.float64).to(dtype).requires_grad_()
    temperature = torch.tensor(tau, dtype=torch.float32, requires_grad=True)
    p = operation(x, temperature if learned else tau)
    assert p.dtype == dtype
    torch.testing.assert_close(p.double().sum(-1), torch.ones(2, 6).double(), rtol=0, atol=0.01)
    assert torch.equal(p[0].argmax(-1)[:2], torch.tensor([2, 0]))
    (p.double() * scores(2, 6, 6)).sum().backward()
    assert not x.grad.isnan().any()
    if learned:
        assert not temperature.grad.isnan()


def test_small_differences_survive_beside_large_ones():
    """In float32: rows of the scores at 0, 1 and 2 do not see the one at 1e30."""
    x = torch.tensor([0.0, 1, 2, 1e30])
    alone = soft_sort(x[:3]), neural_sort(x[:3])
    for p, expected in zip((soft_sort(x), neural_sort(x)), alone, strict=True):
        torch.testing.assert_close(p[1:, :3], expected)


@each
@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_is_float32_cast_once(operation, dtype):
    """Also the gradients."""
    x = scores(3, 8).to(dtype)
    got, truth = (value_and_gradients(lambda s: operation(s, 0.3), v) for v in (x, x.float()))
    assert torch.equal(got[0], truth[0].to(dtype))
    torch.testing.assert_close(got[1].double(), truth[1].double(), rtol=0.05, atol=0.05)


@each
@pytest.mark.parametrize("low", HALVES)
def test_autocast_changes_nothing(operation, low):
    """Bit for bit, forward and backward."""
    x = scores(3, 8).float()
    without = value_and_gradients(lambda s: operation(s, 0.3), x)
    with torch.autocast("cpu", low):
        within = value_and_gradients(lambda s: operation(s, 0.3), x)
    for a, b in zip(without, within, strict=True):
        assert torch.equal(a, b)


@each
def test_transforms_agree(operation):
    """vmap over scores and temperature; forward mode; one compiled graph."""
    x, tau = scores(3, 5), torch.tensor([0.3, 1.0, 0.0]).double()
    together = operation(x, tau)
    torch.testing.assert_close(torch.vmap(operation)(x, tau), together)
    alone = torch.stack([operation(*pair) for pair in zip(x, tau.tolist(), strict=True)])
    torch.testing.assert_close(alone, together)
    tangents = scores(3, 5, seed=1), torch.tensor([1.0, -2, 0]).double()
    forward = torch.func.jvp(operation, (x, tau), tangents)[1]
    leaves = x.clone().requires_grad_(), tau.clone().requires_grad_()
    weight = scores(3, 5, 5, seed=2)
    slopes = torch.autograd.grad((operation(*leaves) * weight).sum(), leaves)
    backward = sum((g * t).sum() for g, t in zip(slopes, tangents, strict=True))
    torch.testing.assert_close((forward * weight).sum(), backward)
    torch._dynamo.reset()
    compiled = torch.compile(operation, fullgraph=True, backend="aot_eager")
    for hard, temperature in itertools.product((False, True), (0.5, 0.0, tau)):
        expected = operation(x, temperature, hard)
        torch.testing.assert_close(compiled(x, temperature, hard), expected)


@each
def test_strides_and_empty_batches(operation):
    """Transposed scores, and none at all."""
    x = scores(5, 3).T
    torch.testing.assert_close(operation(x), operation(x.contiguous()))
    empty = torch.zeros(0, 4, requires_grad=True)
    assert operation(empty).shape == (0, 4, 4)
    operation(empty).sum().backward()


@each
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.zeros(2).long(),), TypeError, "scores: expected a real floating-point tensor"),
        ((torch.zeros(()),), ValueError, "scores: expected at least one along the last dim"),
        ((torch.zeros(3, 0),), ValueError, "scores: expected at least one along the last dim"),
        ((torch.tensor([NAN, INF, 1]),), ValueError, "got 1 NaN and 1 +inf among 3 of shape (3,)"),
        ((torch.zeros(3), -1.0), ValueError, "tau: expected a temperature >= 0"),
        ((torch.zeros(2, 3), torch.ones(3)), ValueError, "to the batch shape (2,) (a matrix has"),
    ],
)
def test_wrong_arguments_are_refused(operation, arguments, error, message):
    """With what was expected and what was given."""
    with pytest.raises(error, match=re.escape(message)):
        operation(*arguments)
