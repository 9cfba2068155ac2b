"""matching: the best permutation among all of them, by enumeration."""

import itertools
import math
import re
import sys

import pytest
import torch
from torch import Tensor

from acceptance import seeded
from reparam.functional import gumbel_sinkhorn, matching
from reparam.noise import Noise

INF, NAN = float("inf"), float("nan")
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def scores(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal values in float64."""
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def permutations(n: int) -> Tensor:
    """All of them, as matrices `(n!, n, n)`."""
    return torch.stack([torch.eye(n).double()[list(p)] for p in itertools.permutations(range(n))])


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_no_permutation_has_a_larger_sum(n):
    """Of every matrix in a batch of any shape."""
    x, every = scores(2, 5, n, n), permutations(n)
    best = (x.unsqueeze(-3) * every).sum((-1, -2)).argmax(-1)
    assert torch.equal(matching(x), every[best])


@pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
def test_its_dtype_is_that_of_the_scores(dtype):
    """And no score is rounded: neighbours in the dtype decide."""
    one = torch.ones((), dtype=dtype)
    x = torch.eye(2, dtype=dtype)
    x[0, 1], x[1, 0] = 1, one.nextafter(2 * one)
    assert torch.equal(matching(x), torch.eye(2, dtype=dtype).flip(0))


def test_forbidden_pairs_are_not_taken():
    """However good the rest of their permutation; without any other, the error says so."""
    x = torch.tensor([[9.0, 0, 0], [0, -INF, 0], [0, 0, 9]])
    assert matching(x)[1, 1] == 0
    assert (matching(x) * x.nan_to_num()).sum() == 9
    x[0, 1] = x[2, 1] = -INF
    with pytest.raises(ValueError, match="expected matrices that allow a permutation each, got"):
        matching(x)


@pytest.mark.parametrize("shape", [(0, 0), (3, 0, 0), (0, 4, 4)])
def test_nothing_to_match(shape):
    """Empty matrices and batches pass."""
    assert matching(torch.zeros(shape)).shape == shape


def test_there_is_no_gradient():
    """In no mode of differentiation."""
    x = scores(3, 3).requires_grad_()
    assert not matching(x).requires_grad
    assert not torch.func.jvp(matching, (x,), (x,))[1].any()
    (own,) = torch.autograd.grad((matching(x) * x).sum(), x)
    assert torch.equal(own, matching(x))


def test_compiled_and_vectorized_equal_eager():
    """In one graph, and by vmap over any dimension; of scores with any strides."""
    torch._dynamo.reset()
    x = scores(3, 5, 4, 3).permute(2, 1, 3, 0)
    expected = matching(x.contiguous())
    compiled = torch.compile(matching, fullgraph=True, backend="aot_eager")
    assert torch.equal(matching(x), expected)
    assert torch.equal(compiled(x), expected)
    assert torch.equal(torch.vmap(matching, 1, 1)(x), expected)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(3), ValueError, "scores: expected square matrices (*batch, n, n), got shape"),
        (torch.zeros(2, 3), ValueError, "expected square matrices (*batch, n, n), got shape (2, 3"),
        (torch.zeros(2, 2).long(), TypeError, "scores: expected a real floating-point tensor"),
        (torch.tensor([[NAN, INF], [0, 0]]), ValueError, "got 1 NaN and 1 +inf among 4 of shape"),
    ],
)
def test_wrong_scores_are_refused(x, error, message):
    """With what was expected and what was given."""
    with pytest.raises(error, match=re.escape(message)):
        matching(x)


def test_without_scipy_the_error_names_the_extra(monkeypatch):
    """It is looked for at the first call, not at the import."""
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'reparam[structured]'")):
        matching(torch.zeros(2, 2))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cold_gumbel_sinkhorn_is_gumbel_matching(dtype):
    """n = 10, tau = 0.01, of the same noise: finite, and within tau times the entropy of the best.

    Of all doubly stochastic P, the relaxed one maximizes <P, scores> + tau H(P), H(P) <= n log n.
    """
    zeros = torch.zeros(100, 10, 10, dtype=dtype, requires_grad=True)
    relaxed, residual = gumbel_sinkhorn(zeros, 0.01, 2000, key=1)
    assert relaxed.isfinite().all()
    (slope,) = torch.autograd.grad((relaxed * torch.arange(10).to(dtype)).sum(), zeros)
    assert slope.isfinite().all()
    noisy = Noise(key=1).gumbel(1, zeros)[0].double()
    gap = ((matching(noisy) - relaxed.detach().double()) * noisy).sum((-1, -2))
    rounding = 10 * float(noisy.abs().max()) * (residual.double() + torch.finfo(dtype).eps)
    assert (gap >= -rounding).all()
    assert (gap <= 0.01 * 10 * math.log(10) + rounding).all()
    assert gap.mean() < 0.02
