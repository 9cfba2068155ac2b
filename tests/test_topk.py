"""Top-k sampling and its relaxation: laws by enumeration, values by bisection, derivatives."""

import itertools
import math
import re

import mpmath
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from acceptance import assert_counts, assert_follows, seeded
from reparam.functional import gumbel_topk, hard_topk, relaxed_topk, soft_topk
from reparam.kernels import topk as kernels

INF, NAN = math.inf, math.nan
EVERY = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
every_dtype = pytest.mark.parametrize("dtype", EVERY, ids=str)
both_sizes = pytest.mark.parametrize("rows", [3, kernels.SMALLEST])
z64 = torch.randn(3, 6, generator=seeded(0), dtype=torch.float64)
taus = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)


def orders(logits: Tensor, k: int) -> tuple[list[tuple[int, ...]], Tensor]:
    """All ordered k-subsets and their Plackett-Luce probabilities: drawn, removed, renormalized."""
    p, found = torch.softmax(logits.double(), -1), []
    for order in itertools.permutations(range(len(logits)), k):
        prob, left = 1.0, 1.0
        for i in order:
            prob, left = prob * p[i].item() / max(left, 1e-300), left - p[i].item()
        found.append((order, prob))
    names, probs = zip(*found, strict=True)
    return list(names), torch.tensor(probs, dtype=torch.float64)


def counts_of(indices: Tensor, names: list[tuple[int, ...]], classes: int) -> Tensor:
    """How often each order was drawn."""
    k = indices.shape[-1]
    code = (indices * classes ** torch.arange(k)).sum(-1)
    tally = torch.bincount(code, minlength=classes**k)
    return tally[[sum(i * classes**j for j, i in enumerate(name)) for name in names]]


def naive(z: Tensor, k: int, tau: Tensor) -> Tensor:
    """soft_topk by 200 bisections in the entries' own precision."""
    low, high = (
        z.amin(-1, keepdim=True) - 60 * tau,
        z.amax(-1, keepdim=True) + 60 * tau,
    )
    for _ in range(200):
        nu = (low + high) / 2
        above = torch.sigmoid((z - nu) / tau).sum(-1, keepdim=True) > k
        low, high = torch.where(above, nu, low), torch.where(above, high, nu)
    return torch.sigmoid((z - low) / tau)


def compiled(function):
    """Trace all of it, without a C++ compiler."""
    torch._dynamo.reset()
    return torch.compile(function, backend="aot_eager", fullgraph=True)


@every_dtype
@pytest.mark.parametrize(("n", "k"), [(4, 1), (4, 2), (4, 4), (5, 3)])
def test_every_order_has_its_plackett_luce_probability(dtype, n, k):
    """Chi-square over all ordered k-subsets, 120,000 rows at once; false fail 1e-7."""
    logits = torch.linspace(-0.8, 1.0, n).to(dtype)
    names, probs = orders(logits, k)
    indices, values = gumbel_topk(logits.expand(120_000, n), k, generator=seeded(1))
    assert indices.shape == values.shape == (120_000, k)
    assert indices.dtype == torch.int64
    assert values.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert (values[:, 1:] <= values[:, :-1]).all()
    assert_counts(counts_of(indices, names, n), probs)


@pytest.mark.parametrize("rows", [30, 6000])
@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("dim", [0, -1])
def test_the_law_holds_by_every_way(rows, keyed, dim):
    """Few and many rows, generator and keys, masks, along any dimension; false fail 1e-7."""
    logits, mask = torch.tensor([0.5, 3.0, -0.5, 0.0]), torch.tensor([True, False, True, True])
    names, probs = orders(logits.masked_fill(~mask, -INF), 2)
    batch, counts = logits.expand(rows, 4).movedim(-1, dim), 0
    generator = seeded(2)
    for i in range(12_000 // rows):
        source = {"key": torch.arange(rows) + i * rows} if keyed else {"generator": generator}
        beside = mask.view(4, 1) if dim == 0 else mask
        indices, _ = gumbel_topk(batch, 2, dim, mask=beside, **source)
        counts = counts + counts_of(indices.movedim(dim, -1), names, 4)
    assert_counts(counts, probs)


def test_small_moderate_rows_follow_the_law():
    """The shortest way, for few and moderate logits: 20 rows, 600 times; false fail 1e-7."""
    logits, generator, counts = torch.tensor([0.5, -0.5, 0.0]), seeded(3), 0
    names, probs = orders(logits, 2)
    for _ in range(600):
        indices, _ = gumbel_topk(logits.expand(20, 3), 2, generator=generator)
        counts = counts + counts_of(indices, names, 3)
    assert_counts(counts, probs)


@pytest.mark.parametrize("rows", [1, 20_000])
@pytest.mark.parametrize("shift", [0.0, -300.0])
def test_the_largest_perturbed_logit_is_gumbel(rows, shift):
    """Its location is logsumexp(logits): the values are true, not up to a constant.

    Kolmogorov-Smirnov over 20,000 draws, false fail 1e-7; a shift of .06 passes at 1e-7.
    """
    logits, generator = torch.tensor([0.5, -0.5, 1.0]) + shift, seeded(4)
    at = torch.logsumexp(logits.double(), -1).item()
    draws = [
        gumbel_topk(logits.expand(rows, 3), 2, generator=generator)[1][:, 0]
        for _ in range(20_000 // rows)
    ]
    assert_follows(torch.cat(draws), lambda x: torch.exp(-torch.exp(at - torch.as_tensor(x))))


@pytest.mark.parametrize("rows", [100, 20_000])
def test_equal_logits_of_any_size_are_drawn_uniformly(rows):
    """At 1e8, where noise is below the spacing of floats; false fail 1e-7."""
    logits, generator = torch.full((rows, 4), 1e8), seeded(5)
    draws = [gumbel_topk(logits, 1, generator=generator)[0] for _ in range(20_000 // rows)]
    assert_counts(torch.bincount(torch.cat(draws).flatten(), minlength=4), torch.full((4,), 0.25))


@both_sizes
def test_k_of_all_is_a_permutation_and_one_class_is_certain(rows):
    """k = K in float and half; K = 1; the excluded are never drawn, however few remain."""
    for dtype in (torch.float32, torch.float16):
        indices, _ = gumbel_topk(torch.zeros(rows, 7, dtype=dtype), 7)
        assert torch.equal(indices.sort().values, torch.arange(7).expand(rows, 7))
    assert (gumbel_topk(torch.zeros(rows, 1), 1)[0] == 0).all()
    logits = torch.zeros(rows, 6).masked_fill(torch.arange(6) % 2 == 0, -INF)
    indices, values = gumbel_topk(logits, 3)
    assert torch.equal(indices.sort().values, torch.tensor([1, 3, 5]).expand(rows, 3))
    assert values.isfinite().all()


@pytest.mark.parametrize("rows", [40, 4000])
def test_a_key_decides_its_row_alone_and_equals_the_plain_formula(rows):
    """In parts as in whole, and as the formula of the key's own Gumbel noise."""
    logits, keys = torch.randn(rows, 9, generator=seeded(0)), torch.arange(rows)
    whole = gumbel_topk(logits, 3, key=keys)
    part = gumbel_topk(logits[5:8], 3, key=keys[5:8])
    wide = gumbel_topk(logits.double(), 3, key=keys)
    for got, alone, exact in zip(whole, part, wide, strict=True):
        torch.testing.assert_close(got[5:8], alone)
        torch.testing.assert_close(got, exact.to(got.dtype), rtol=1e-4, atol=1e-4)
    y = relaxed_topk(logits, 3, 0.5, key=keys)
    torch.testing.assert_close(relaxed_topk(logits[5:8], 3, 0.5, key=keys[5:8]), y[5:8])
    k_hot = torch.zeros(rows, 9).scatter(-1, whole[0], 1.0)
    assert torch.equal(relaxed_topk(logits, 3, hard=True, key=keys), k_hot)


def test_wide_rows_are_drawn_in_pieces(monkeypatch):
    """Rows wider than a piece: sorted, distinct, whole-range; as uniform as they should be.

    Halves of 40 classes in 20,000 draws by pieces of 7: binomial within 5.4 sigma, 1e-7.
    """
    monkeypatch.setattr(kernels, "WIDE", 7)
    indices, values = gumbel_topk(torch.zeros(20_000, 40), 9, generator=seeded(6))
    assert (values[:, 1:] <= values[:, :-1]).all()
    assert (indices.sort().values.diff() > 0).all()
    assert abs((indices[:, 0] < 20).sum() - 10_000) <= 5.4 * math.sqrt(5000)
    assert_counts(torch.bincount(indices[:, 8], minlength=40), torch.full((40,), 1 / 40))


def test_more_classes_than_multinomial_takes():
    """K = 2^24 + 100: the allowed few at the far end are found, which multinomial refuses."""
    logits = torch.full((2**24 + 100,), -1e4)
    logits[-3:] = 0
    assert gumbel_topk(logits, 3)[0].sort().values.tolist() == [2**24 + i for i in (97, 98, 99)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@both_sizes
def test_the_gradient_passes_to_the_drawn_logits(dtype, rows):
    """The transpose of a gather, also where validate=False lets an excluded class through."""
    logits = torch.randn(rows, 6, generator=seeded(0)).to(dtype).requires_grad_()
    indices, values = gumbel_topk(logits, 3, generator=seeded(1))
    weight = torch.tensor([1.0, 2.0, -3.0], dtype=values.dtype).expand(rows, 3)
    (got,) = torch.autograd.grad(values, logits, weight)
    assert torch.equal(got, torch.zeros_like(logits).scatter(-1, indices, weight.to(dtype)))
    few = torch.zeros(rows, 6).masked_fill(torch.arange(6) > 1, -INF).requires_grad_()
    _, values = gumbel_topk(few, 3, validate=False)
    assert (values[:, 2] == -INF).all()
    assert torch.autograd.grad(values[:, :2].sum(), few)[0].sum() == 2 * rows


@pytest.mark.parametrize("sample", [gumbel_topk, relaxed_topk])
@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 4)])
def test_no_rows_are_fine(sample, shape):
    """They give no rows."""
    got = sample(torch.zeros(shape), 2)
    assert (got[0] if sample is gumbel_topk else got).shape[:-1] == shape[:-1]


@pytest.mark.parametrize("sample", [gumbel_topk, relaxed_topk])
@pytest.mark.parametrize(
    ("logits", "k", "dim", "message"),
    [
        (torch.zeros(2, 3), 0, -1, "k: expected an integer >= 1, got 0"),
        (torch.zeros(2, 3), 1.0, -1, "k: expected an integer >= 1, got 1.0"),
        (torch.zeros(2, 3), 4, -1, "at most the 3 classes along dim -1, got 4"),
        (torch.zeros(2, 3), 3, 0, "at most the 2 classes along dim 0, got 3"),
        (torch.zeros(2, 0), 1, -1, "at least one class"),
        (torch.zeros(()), 1, -1, "at least one class"),
        (torch.tensor([[0.0, NAN]]), 1, -1, "got 1 NaN and 0 +inf among 2"),
        (torch.tensor([[0.0, INF]]), 1, -1, "got 0 NaN and 1 +inf among 2"),
        (
            torch.tensor([[0.0, 0, 0], [0, -INF, -INF], [0, 0, -INF]]),
            2,
            -1,
            "got 2 and 1 of 3 rows with fewer (one with 1); lower k or allow more",
        ),
    ],
)
def test_wrong_arguments_are_refused(sample, logits, k, dim, message):
    """With the argument's name, what came and what to do."""
    with pytest.raises(ValueError, match=re.escape(message)):
        sample(logits, k, dim=dim)


@pytest.mark.parametrize("sample", [gumbel_topk, relaxed_topk])
def test_wrong_types_are_refused(sample):
    """Integers as logits, numbers as a mask, and a dimension that is not there."""
    with pytest.raises(IndexError, match="dim: expected one of the 2 dimensions"):
        sample(torch.zeros(2, 3), 1, dim=2)
    with pytest.raises(TypeError, match="logits: expected a real floating-point"):
        sample(torch.zeros(2, 3).int(), 1)
    with pytest.raises(TypeError, match="mask: expected a boolean"):
        sample(torch.zeros(2, 3), 1, mask=torch.ones(3))


@pytest.mark.parametrize("tau", [-1.0, NAN, torch.tensor([1.0, -1.0])])
def test_a_temperature_below_zero_is_refused(tau):
    """By both relaxations; and soft_topk looks at its k."""
    for sample in (relaxed_topk, soft_topk):
        with pytest.raises(ValueError, match="tau: expected a temperature >= 0"):
            sample(torch.zeros(2, 3), 1, tau)
    with pytest.raises(ValueError, match="at most the 3 classes"):
        soft_topk(torch.zeros(2, 3), 4, 1.0)
    with pytest.raises(ValueError, match="batch shape"):
        relaxed_topk(torch.zeros(kernels.SMALLEST, 3), 1, torch.ones(3))


@pytest.mark.parametrize("k", [1, 2, 5, 8, 9])
@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0, 30.0])
def test_soft_topk_is_what_bisection_finds(k, tau):
    """Float64 to 1e-13 and float32 to 1e-6, for spread, clustered and heavy-tailed rows."""
    x = torch.randn(200, 10, generator=seeded(1), dtype=torch.float64)
    for z in (x, 5 * x.sign() + 1e-3 * x, -3 * x.abs().log(), (2 * x).round()):
        truth = naive(z, k, torch.tensor(tau, dtype=torch.float64))
        torch.testing.assert_close(soft_topk(z, k, tau), truth, rtol=0, atol=3e-13)
        single = soft_topk(z.float(), k, tau).double()
        truth = naive(z.float().double(), k, torch.tensor(tau, dtype=torch.float32).double())
        torch.testing.assert_close(single, truth, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-6), (torch.float64, 1e-13)])
def test_newtons_method_arrives_on_hard_rows(dtype, tolerance):
    """1000 entries in clusters and heavy tails, where it takes the most steps; k up to 999."""
    x = torch.randn(100, 1000, generator=seeded(1), dtype=torch.float64)
    clusters = torch.where(x > 1, 10.0, torch.where(x < -1, -10.0, 0.0)) + 0.01 * x
    for z in (clusters, 3 * x.abs().log(), -3 * x.abs().log(), 5 * x.sign()):
        for k in (1, 500, 999):
            for tau in (0.125, 0.5, 4.0):
                entries = z.to(dtype)
                truth = naive(entries.double(), k, torch.tensor(tau).double())
                got = soft_topk(entries, k, tau).double()
                torch.testing.assert_close(got, truth, rtol=0, atol=tolerance)


def test_small_entries_keep_their_relative_precision():
    """y of 1e-27 to 12 digits, by 60-digit arithmetic: the others' mass is not lost beside k."""
    z, tau = [9.0, 8.0, 2.0, 1.0], 0.1
    y = soft_topk(torch.tensor(z, dtype=torch.float64), 2, tau)
    with mpmath.workdps(60):

        def entry(x: float, nu: mpmath.mpf) -> mpmath.mpf:
            return 1 / (1 + mpmath.exp((nu - x) / mpmath.mpf(tau)))

        def balance(nu: mpmath.mpf) -> mpmath.mpf:
            others, missed = sum(entry(x, nu) for x in z[2:]), sum(1 - entry(x, nu) for x in z[:2])
            return mpmath.log(others / missed)

        nu = mpmath.findroot(balance, 5)
        truth = [float(entry(x, nu)) for x in z]
    torch.testing.assert_close(y, torch.tensor(truth, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tau", [1.0, 1e-4, 1e-8, 1e-38, 1e-45, 1e30, INF])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_every_temperature_is_finite(dtype, tau, as_tensor):
    """Entries at +-1e4 and -inf, with ties at the k-th place: values that sum to k, gradients."""
    z = torch.tensor(
        [[1e4, 0.0, 0.0, -1e4, -INF], [1e4, 1e4, 1e4, 1.0, 3.0], [2.0, 1.0, -INF, -INF, -INF]],
        dtype=dtype,
    ).requires_grad_()
    temperature = torch.tensor(tau, dtype=dtype, requires_grad=True) if as_tensor else tau
    y = soft_topk(z, 2, temperature)
    assert ((y >= 0) & (y <= 1)).all()
    torch.testing.assert_close(y.sum(-1), torch.full((3,), 2.0, dtype=dtype), rtol=0, atol=1e-5)
    assert torch.equal(y[z == -INF], torch.zeros(4, dtype=dtype))
    if tau <= 1:
        expected = torch.tensor([[1, 0.5, 0.5, 0, 0], [2 / 3, 2 / 3, 2 / 3, 0, 0]], dtype=dtype)
        torch.testing.assert_close(y[:2], expected, rtol=0, atol=1e-6)
    (y * torch.tensor([1.0, 0.5, -1, 2, 0])).sum().backward()
    assert z.grad.isfinite().all()
    if as_tensor:
        assert temperature.grad.isfinite()


@every_dtype
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("tau", [0.01, 1.0])
@both_sizes
def test_relaxed_samples_lie_in_the_hypersimplex(dtype, hard, tau, rows):
    """Entries in [0, 1] that sum to k = 3 of 10, 0 where excluded; the gradient is finite."""
    logits = torch.randn(rows, 10, generator=seeded(0)).to(dtype).requires_grad_()
    mask = torch.arange(10) != 4
    y = relaxed_topk(logits, 3, tau, hard, mask=mask, generator=seeded(1))
    assert y.dtype == dtype
    assert ((y >= 0) & (y <= 1)).all()
    assert (y[:, 4] == 0).all()
    tolerance = {torch.float16: 3e-3, torch.bfloat16: 2e-2}.get(dtype, 1e-5)
    torch.testing.assert_close(
        y.double().sum(-1), torch.full((rows,), 3.0).double(), rtol=0, atol=tolerance
    )
    if hard:
        assert (y.sum(-1) == 3).all()
        assert ((y == 0) | (y == 1)).all()
    (gradient,) = torch.autograd.grad((y * torch.arange(10)).sum(), logits)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0
    assert (gradient[:, 4] == 0).all()


@pytest.mark.parametrize("tau", [0.0, 0, torch.tensor(0.0), torch.zeros(3)])
def test_zero_temperature_is_k_hot_with_zero_gradient(tau):
    """Exactly, also among equals; and rows of other temperatures beside it are untouched."""
    z = torch.tensor([[1.0, 1, 1, 0], [0, 2, 1, 3], [4, 3, 2, 1]], requires_grad=True)
    y = soft_topk(z, 2, tau)
    assert torch.equal(y, hard_topk(z, 2))
    assert (y.sum(-1) == 2).all()
    assert (torch.autograd.grad(y.square().sum(), z)[0] == 0).all()
    mixed = soft_topk(z, 2, torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(mixed[1], soft_topk(z[1], 2, 0.5))
    logits = torch.zeros(kernels.SMALLEST, 3, requires_grad=True)
    y = relaxed_topk(logits, 2, 0.0)
    assert ((y == 0) | (y == 1)).all()
    assert (torch.autograd.grad(y.square().sum(), logits)[0] == 0).all()


def test_the_cold_limit_is_the_sample_without_replacement():
    """For one key, tau = 1e-6 and hard give the classes of gumbel_topk, by both ways."""
    for rows in (20, 3000):
        logits = torch.randn(rows, 8, generator=seeded(0))
        k_hot = torch.zeros(rows, 8).scatter(-1, gumbel_topk(logits, 3, key=7)[0], 1.0)
        torch.testing.assert_close(relaxed_topk(logits, 3, 1e-6, key=7), k_hot)
        for tau in (0.5, 1e6):  # at 1e6 the entries of y differ by less than their rounding
            assert torch.equal(relaxed_topk(logits, 3, tau, hard=True, key=7), k_hot)


def test_relaxed_ways_agree():
    """The chunks give what the formula gives in float64, for a temperature per row and any dim."""
    logits = torch.randn(5000, 8, generator=seeded(0))
    tau = torch.rand(5000, generator=seeded(1)) + 0.1
    weight = torch.arange(8.0)
    results = []
    for dtype in (torch.float32, torch.float64):
        for dim in (0, 1):
            x, t = logits.to(dtype).requires_grad_(), tau.to(dtype).requires_grad_()
            y = relaxed_topk(x.movedim(-1, dim), 3, t, dim=dim, key=1).movedim(dim, -1)
            gradients = torch.autograd.grad(
                y @ weight.to(dtype), [x, t], torch.ones(5000).to(dtype)
            )
            (alone,) = torch.autograd.grad(
                relaxed_topk(x, 3, t.detach(), key=1) @ weight.to(dtype),
                x,
                torch.ones(5000).to(dtype),
            )
            results.append([r.double() for r in (y, *gradients, alone)])
    for result in results:
        for got, expected in zip(result, results[-1], strict=True):
            torch.testing.assert_close(got, expected, rtol=2e-3, atol=2e-4)


@both_sizes
def test_a_common_shift_changes_no_relaxed_sample(rows):
    """Equal logits of 1e8 are relaxed as zeros are; and k = K leaves nothing to choose."""
    shifted = relaxed_topk(torch.full((rows, 4), 1e8), 2, key=1)
    assert torch.equal(shifted, relaxed_topk(torch.zeros(rows, 4), 2, key=1))
    logits = torch.zeros(rows, 4, requires_grad=True)
    y = relaxed_topk(logits, 4, hard=True)
    assert torch.equal(y, torch.ones(rows, 4))
    assert (torch.autograd.grad(y.square().sum(), logits)[0] == 0).all()


def test_symmetries():
    """Permuting entries permutes y; shifting them changes nothing; k and K - k mirror."""
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    y = soft_topk(z64, 2, 0.5)
    torch.testing.assert_close(soft_topk(z64[:, order], 2, 0.5), y[:, order], rtol=0, atol=1e-14)
    torch.testing.assert_close(soft_topk(z64 + 64, 2, 0.5), y, rtol=0, atol=1e-12)
    torch.testing.assert_close(1 - soft_topk(-z64, 4, 0.5), y, rtol=0, atol=1e-14)
    torch.testing.assert_close(soft_topk(z64.T, 2, 0.5, 0).T, y, rtol=0, atol=0)
    assert torch.equal(soft_topk(z64, 6, 0.5), torch.ones(3, 6).double())
    torch.testing.assert_close(
        soft_topk(z64, 1, 1e3), torch.full((3, 6), 1 / 6).double(), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_derivatives_are_exact(check, k):
    """First and second, in z and in a temperature per row, along any dimension."""
    z, tau = z64.clone().requires_grad_(), taus.clone().requires_grad_()
    assert check(lambda z, tau: soft_topk(z, k, tau), (z, tau))
    assert check(lambda z: soft_topk(z, 2, 0.7, 0), (z,))


def test_the_chunked_second_derivative_is_the_formula():
    """Of relaxed_topk in float32, against float64's."""
    results = []
    for dtype in (torch.float32, torch.float64):
        x = torch.randn(500, 8, generator=seeded(0)).to(dtype).requires_grad_()
        y = relaxed_topk(x, 3, 0.8, key=1)
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        results.append(torch.autograd.grad(first.square().sum(), x)[0].double())
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("transform", ["value", "grad", "jacfwd", "hessian"])
@pytest.mark.parametrize("in_dims", [(0, None), (None, 0), (0, 0)])
def test_soft_topk_vectorizes(in_dims, transform):
    """vmap over z and tau, forward, backward and forward mode, equals row after row."""
    arguments = (z64 if in_dims[0] == 0 else z64[0], taus if in_dims[1] == 0 else taus[0])

    def loss(z: Tensor, tau: Tensor) -> Tensor:
        return (soft_topk(z, 2, tau) * torch.arange(6)).sum()

    function = {
        "value": loss,
        "grad": torch.func.grad(loss, (0, 1)),
        "jacfwd": torch.func.jacfwd(loss, (0, 1)),
        "hessian": torch.func.jacrev(torch.func.grad(loss, 1), (0, 1)),
    }[transform]
    leaves = torch.utils._pytree.tree_leaves
    together = leaves(torch.vmap(function, in_dims)(*arguments))
    alone = [
        leaves(function(*(a[i] if d == 0 else a for a, d in zip(arguments, in_dims, strict=True))))
        for i in range(3)
    ]
    for got, expected in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(got, torch.stack(expected), rtol=1e-10, atol=1e-10)


def test_forward_mode_agrees_with_reverse_mode():
    """Jacobians in z and tau, by both."""

    def y(z: Tensor, tau: Tensor) -> Tensor:
        return soft_topk(z, 2, tau)

    forward = torch.func.jacfwd(y, (0, 1))(z64, taus)
    reverse = torch.func.jacrev(y, (0, 1))(z64, taus)
    for got, expected in zip(forward, reverse, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_samples_vectorize_over_rows():
    """Under vmap with different randomness, rows draw different noise, and all are samples."""
    logits = torch.zeros(50, 6)
    y = torch.vmap(lambda x: relaxed_topk(x, 2), randomness="different")(logits)
    torch.testing.assert_close(y.sum(-1), torch.full((50,), 2.0))
    assert y[:, 0].unique().numel() > 40
    indices, _ = torch.vmap(lambda x: gumbel_topk(x, 6), randomness="different")(logits)
    assert torch.equal(indices.sort().values, torch.arange(6).expand(50, 6))
    assert indices.unique(dim=0).shape[0] > 40


@pytest.mark.parametrize("hard", [False, True])
def test_samples_compile_whole(hard):
    """One graph; for a key, value and gradients equal the eager ones."""
    results = []
    for wrap in (compiled, lambda f: f):
        x, tau = z64.clone().requires_grad_(), taus.clone().requires_grad_()
        y = wrap(lambda x, tau: relaxed_topk(x, 2, tau, hard, key=3))(x, tau)
        indices, values = wrap(lambda x: gumbel_topk(x, 2, key=3))(x)
        loss = (y * torch.arange(6)).sum() + values.square().sum()
        results.append((y, indices, values, *torch.autograd.grad(loss, [x, tau])))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(low):
    """Chunks and formula stay in float32."""
    for rows in (5, 3000):
        logits, results = torch.randn(rows, 6, generator=seeded(0)), []
        for enabled in (False, True):
            with torch.autocast("cpu", low, enabled=enabled):
                results.append(
                    (relaxed_topk(logits, 2, 0.3, key=1), *gumbel_topk(logits, 2, key=1))
                )
        for without, within in zip(*results, strict=True):
            assert torch.equal(without, within)


@pytest.mark.parametrize("sample", [gumbel_topk, relaxed_topk])
def test_a_generator_fixes_the_sample_and_spares_the_global_one(sample):
    """Same seed, same sample; small and large, moderate and not."""
    before = torch.get_rng_state()
    for logits in (torch.zeros(4, 5), torch.full((4, 5), 200.0), torch.zeros(900, 5)):
        draws = [sample(logits, 2, generator=seeded(s)) for s in (1, 1, 2)]
        first, again, other = (d[1] if sample is gumbel_topk else d for d in draws)
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())
