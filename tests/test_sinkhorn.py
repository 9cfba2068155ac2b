"""sinkhorn and gumbel_sinkhorn: the definition in float64 is the oracle of every internal form."""

import math
import re

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from acceptance import seeded
from reparam.functional import gumbel_sinkhorn, sinkhorn
from reparam.kernels.sinkhorn import logarithmic, products, scaling
from reparam.noise import Noise, fold_in

INF, NAN = float("inf"), float("nan")
HALVES = [torch.float16, torch.bfloat16]


def definition(log_alpha: Tensor, tau: float | Tensor, n_iters: int) -> Tensor:
    """Alternate normalizations of logarithms, rows first, with torch's own derivatives."""
    x = log_alpha / (tau[..., None, None] if isinstance(tau, Tensor) else tau)
    for _ in range(n_iters):
        x = x - x.logsumexp(-1, keepdim=True)
        x = x - x.logsumexp(-2, keepdim=True)
    return x.exp()


def scores(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Standard normal values."""
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64).to(dtype)


def compiled(function):
    """Trace all of it, without a C++ compiler."""
    torch._dynamo.reset()
    return torch.compile(function, backend="aot_eager", fullgraph=True)


@pytest.fixture(params=["chosen", "logarithmic", "apart", "abreast"])
def form(request, monkeypatch):
    """The form as chosen (compiled, where numba is there), or one forced where it can serve."""
    if request.param == "logarithmic":
        monkeypatch.setattr(scaling, "REACH", dict.fromkeys(scaling.REACH, -1.0))
    elif request.param != "chosen":
        monkeypatch.setenv("REPARAM_FAST", "0")
        monkeypatch.setattr(products, "SMALL", 0 if request.param == "apart" else 10**6)
        monkeypatch.setattr(scaling, "LARGE", 0)
    return request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tau", [1.0, 0.1, 0.01])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 50])
@pytest.mark.parametrize("n_iters", [1, 5, 20, 100])
def test_value_and_gradients_are_those_of_the_definition(form, dtype, tau, n, n_iters):
    """Of the truncated iteration, in scores and in a temperature for each matrix."""
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    x, weight = scores(2, 3, n, n, dtype=dtype), scores(2, 3, n, n, seed=1)
    taus = tau * torch.tensor([1.0, 1.1, 1.5], dtype=dtype)
    results = []
    for wide, operation in ((True, definition), (False, lambda *a: sinkhorn(*a)[0])):
        leaves = [(t.double() if wide else t.clone()).requires_grad_() for t in (x, taus)]
        p = operation(*leaves, n_iters)
        results.append([p.detach(), *torch.autograd.grad((p * weight).sum(), leaves)])
    for truth, got in zip(*results, strict=True):
        assert got.dtype == dtype
        scale = max(1.0, float(truth.abs().max()))
        torch.testing.assert_close(got.double(), truth, rtol=0, atol=tolerance * scale)


@pytest.fixture
def met(monkeypatch):
    """The forms that ran, and in which dtype."""
    met = []
    for module in (scaling, logarithmic):

        def iterate(m: Tensor, *rest: float, module=module, original=module.iterate):
            met.append((module, m.dtype))
            return original(m, *rest)

        monkeypatch.setattr(module, "iterate", iterate)
    return met


def test_the_range_decides_the_form(met):
    """Moderate ranges iterate in float32, wider ones in float64, the widest by logarithms."""
    for tau in (1.0, 0.1, 0.008):
        sinkhorn(scores(10, 10, dtype=torch.float32), tau)
    single, double = torch.float32, torch.float64
    assert met == [(scaling, single), (scaling, double), (logarithmic, double)]


def test_where_float32_products_may_be_rounded_they_run_in_float64(met):
    """TF32 and bfloat16 products are the user's choice for networks, not for this."""
    try:
        torch.set_float32_matmul_precision("medium")
        sinkhorn(scores(8, 64, 64, dtype=torch.float32))
    finally:
        torch.set_float32_matmul_precision("highest")
    assert met == [(scaling, torch.float64)]


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
@pytest.mark.parametrize("n_iters", [1, 4])
def test_derivatives(form, check, n_iters):
    """First and second, against finite differences, in scores and temperature."""
    x, tau = scores(2, 3, 3).requires_grad_(), torch.tensor([0.7, 1.3]).double().requires_grad_()
    assert check(lambda x, tau: sinkhorn(x, tau, n_iters)[0], (x, tau))
    assert check(lambda x: sinkhorn(x, 0.7, n_iters)[0], (x,))


def test_second_derivatives_after_an_early_stop():
    """They are those of the iterations that were taken."""
    x, weight = scores(4, 4).requires_grad_(), scores(4, 4, seed=1)
    taken = next(t for t in range(1, 99) if sinkhorn(x, 1.0, t)[1] <= 1e-3)
    hessians = []
    for p in (sinkhorn(x, 1.0, 99, 1e-3)[0], definition(x, 1.0, taken)):
        (slope,) = torch.autograd.grad((p * weight).sum(), x, create_graph=True)
        hessians += torch.autograd.grad((slope * weight).sum(), x)
    torch.testing.assert_close(*hessians, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_converges_and_says_how_far(form, dtype):
    """Columns sum to 1 after any number of iterations; the residual is the rows' worst error."""
    x = scores(5, 12, 12, dtype=dtype).requires_grad_()
    eps = 12 * torch.finfo(dtype).eps
    for n_iters in (1, 10, 300):
        p, residual = sinkhorn(x, 0.5, n_iters)
        torch.testing.assert_close(p.sum(-2), torch.ones_like(p[..., 0]), rtol=0, atol=eps)
        assert not residual.requires_grad
        expected = (p.sum(-1) - 1).abs().amax(-1)
        torch.testing.assert_close(residual, expected, rtol=0, atol=eps)
    assert residual.max() < 2 * eps


def test_stops_when_the_worst_matrix_is_within_tol(form):
    """After the first iteration that brings every residual of the batch to tol, or never."""
    x = scores(4, 6, 6) * torch.tensor([0.1, 1, 2, 3]).view(4, 1, 1)
    stopped, residual = sinkhorn(x, 1.0, 1000, 1e-4)
    taken = next(t for t in range(1, 1000) if sinkhorn(x, 1.0, t)[1].max() <= 1e-4)
    assert taken > 5
    torch.testing.assert_close(stopped, sinkhorn(x, 1.0, taken)[0], rtol=1e-12, atol=1e-14)
    assert residual.max() <= 1e-4 < sinkhorn(x, 1.0, taken - 1)[1].max()
    assert sinkhorn(x, 1.0, 3, 1e-4)[1].max() > 1e-4


@pytest.mark.parametrize("form", ["chosen", "apart"], indirect=True)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_iterations_that_change_nothing_are_left_out(form, dtype):
    """u and v stay as they are once the residual has come down to rounding."""
    x = scores(3, 8, 8, dtype=dtype)
    result = scaling.iterate(x - x.amax(-1, keepdim=True), 500, 0.0)
    assert result is not None
    _, _, v, p = result
    changes = (v[:, 1:] != v[:, :-1]).any(-1).sum(-1)
    assert changes.max() < 60
    assert ((p.sum(-1) - 1).abs() <= 2 * scaling.ROUNDING[dtype]).all()


def test_rows_of_a_batch_are_independent(form):
    """At tol = 0 a matrix in a batch is the matrix alone."""
    x, tau = scores(3, 4, 5, 5), torch.tensor([0.5, 1.0, 2.0, 0.05]).double()
    together, residual = sinkhorn(x, tau)
    assert residual.shape == (3, 4)
    for i in range(3):
        for j in range(4):
            alone, worst = sinkhorn(x[i, j], float(tau[j]))
            torch.testing.assert_close(together[i, j], alone, rtol=1e-12, atol=1e-14)
            torch.testing.assert_close(residual[i, j], worst, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("tau", [0.5, 2.0])
def test_two_by_two_in_closed_form(tau):
    """The diagonal of the limit is sigmoid((a + d - b - c) / 2 tau)."""
    x = scores(20, 2, 2)
    p, _ = sinkhorn(x, tau, 5000)
    truth = torch.sigmoid((x[:, 0, 0] + x[:, 1, 1] - x[:, 0, 1] - x[:, 1, 0]) / (2 * tau))
    torch.testing.assert_close(p.diagonal(dim1=-2, dim2=-1), truth[:, None].expand(20, 2))


def test_falling_temperature_approaches_the_best_assignment():
    """The solver's permutation, of scores whose best is clear of the next."""
    for seed in range(5):
        shuffled = torch.eye(7, dtype=torch.float64)[torch.randperm(7, generator=seeded(seed))]
        x = scores(7, 7, seed=seed) + 4 * shuffled
        best = torch.zeros_like(x)
        best[linear_sum_assignment(x.numpy(), maximize=True)] = 1
        distances = [float((sinkhorn(x, t, 2000)[0] - best).abs().max()) for t in (3, 1, 0.08)]
        assert distances[0] > 0.1
        assert distances == sorted(distances, reverse=True)
        assert distances[-1] < 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tau", [1.0, 0.1, 0.01])
def test_forbidden_pairs_leave_no_trace(form, dtype, tau):
    """Blocks on the diagonal balance alone; forbidden entries are 0, their gradients too."""
    blocks = [scores(n, n, dtype=dtype, seed=n) for n in (2, 3)]
    joined = torch.full((5, 5), -INF, dtype=dtype)
    joined[:2, :2], joined[2:, 2:] = blocks
    gradients, slopes, values = [], [], []
    for x in (joined, *blocks):
        leaf, temperature = x.clone().requires_grad_(), torch.tensor(tau).to(dtype)
        p, _ = sinkhorn(leaf, temperature.requires_grad_(), 15)
        values.append(p.detach())
        slope = torch.autograd.grad(p.square().sum(), [leaf, temperature])
        gradients.append(slope[0])
        slopes.append(slope[1])
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    for got in (values, gradients):
        expected = torch.block_diag(*got[1:])
        bound = tolerance * max(1, float(expected.abs().max()))
        torch.testing.assert_close(got[0], expected, rtol=0, atol=bound)
        assert (got[0][joined == -INF] == 0).all()
    torch.testing.assert_close(slopes[0], slopes[1] + slopes[2], rtol=1e-4, atol=tolerance / tau)


def test_factors_that_outgrow_their_range_move_to_logarithms():
    """Along a band, the factors of far columns multiply; value and gradient stay exact."""
    n = 12
    x = (9.0 * torch.arange(n)).expand(n, n)
    x = x.masked_fill(~torch.ones(n, n).bool().tril(1).triu(-1), -INF)
    assert scaling.iterate((x - x.amax(-1, keepdim=True))[None], 60, 0.0) is None
    x.requires_grad_()
    results = []
    for leaf, operation in (
        (x, lambda x: sinkhorn(x, 1.0, 60)[0]),
        (x.detach().double().requires_grad_(), lambda x: definition(x, 1.0, 60)),
    ):
        p = operation(leaf)
        (g,) = torch.autograd.grad(p.square().sum(), leaf)
        results.append((p.double(), g.double()))
    for got, truth in zip(*results, strict=True):
        torch.testing.assert_close(got, truth, rtol=1e-5, atol=1e-6)


def test_without_a_permutation_nothing_overflows():
    """Two rows that share their only column: finite values, and a residual that says so."""
    x = torch.zeros(3, 3)
    x[:2, 1:] = -INF
    x.requires_grad_()
    p, residual = sinkhorn(x, 1.0, 2000)
    (g,) = torch.autograd.grad(p.square().sum(), x)
    assert p.isfinite().all()
    assert g.isfinite().all()
    assert residual > 0.4


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32, torch.float64])
@pytest.mark.parametrize("tau", [0.01, 1e-4, 1e-8, 1e-38, 1e-45])
@pytest.mark.parametrize("learned", [False, True])
def test_cold_and_extreme_is_never_nan(dtype, tau, learned):
    """Scores up to 1e4, in value and in gradients."""
    x = (scores(3, 10, 10) * torch.tensor([1, 100, 4000]).view(3, 1, 1)).to(dtype)
    x[0, 0, 0], x[1, 1, 1] = 1e4, -1e4
    x.requires_grad_()
    temperature = torch.tensor(tau, dtype=torch.float32, requires_grad=True)
    p, residual = sinkhorn(x, temperature if learned else tau)
    assert p.dtype == dtype
    assert p.isfinite().all()
    assert residual.isfinite().all()
    (p.double() * scores(3, 10, 10, seed=2)).sum().backward()
    assert not x.grad.isnan().any()
    if learned and temperature > 0:
        assert not temperature.grad.isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_temperature_that_underflows_is_the_smallest(dtype):
    """Quotients stay finite at 1e-320, where float32 has only 0."""
    p, _ = sinkhorn(1e4 * scores(6, 6, dtype=dtype), 1e-320)
    torch.testing.assert_close(p.sum(-2), torch.ones(6, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shifts_of_rows_change_nothing(form, dtype):
    """Whole matrices and single rows, by up to 1e8, of scores that stay exact."""
    x = torch.randint(-3, 4, (6, 6), generator=seeded(0)).to(dtype)
    shift = torch.tensor([0.0, 1e4, -1e4, 1e4, 1, -7]).view(6, 1).to(dtype)
    expected = sinkhorn(x, 0.5)[0]
    for shifted in (x + shift, x * 8 + 1e8):
        tau = 0.5 if shifted[0, 0] < 1e5 else 4.0
        torch.testing.assert_close(sinkhorn(shifted, tau)[0], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_is_float32_cast_once(dtype):
    """Also the gradients; the residual stays in float32."""
    x = scores(4, 9, 9, dtype=dtype).requires_grad_()
    wide = x.detach().float().requires_grad_()
    p, residual = sinkhorn(x, 0.3)
    truth, worst = sinkhorn(wide, 0.3)
    assert torch.equal(p, truth.to(dtype))
    assert torch.equal(residual, worst)
    weight = scores(4, 9, 9, dtype=dtype, seed=1)
    (got,) = torch.autograd.grad(p, x, weight)
    assert torch.equal(got, torch.autograd.grad(truth, wide, weight.float())[0].to(dtype))
    sample, _ = gumbel_sinkhorn(x, key=1)
    assert torch.equal(sample, gumbel_sinkhorn(wide, key=1)[0].to(dtype))


@pytest.mark.parametrize("low", HALVES)
def test_autocast_changes_nothing(form, low):
    """Bit for bit, forward, backward and second derivative."""
    results = []
    for enabled in (False, True):
        x = scores(3, 30, 30, dtype=torch.float32).requires_grad_()
        with torch.autocast("cpu", low, enabled=enabled):
            p, residual = gumbel_sinkhorn(x, key=3)
            (g,) = torch.autograd.grad(p.square().sum(), x, retain_graph=True)
            (h,) = torch.autograd.grad(p.square().sum(), x, create_graph=True)
            (second,) = torch.autograd.grad(h.square().sum(), x)
            mapped = torch.vmap(lambda x: sinkhorn(x)[0])(x)
        results.append((p, residual, g, second, mapped))
    for without, within in zip(*results, strict=True):
        assert without.dtype == within.dtype == torch.float32
        assert torch.equal(without, within)


@pytest.mark.parametrize("shape", [(0, 0), (3, 0, 0), (0, 4, 4), (2, 0, 4, 4)])
@pytest.mark.parametrize("operation", [sinkhorn, gumbel_sinkhorn])
def test_nothing_to_balance(operation, shape):
    """Empty matrices and batches pass, with their gradient."""
    x = torch.zeros(shape, requires_grad=True)
    p, residual = operation(x)
    assert p.shape == shape
    assert residual.shape == shape[:-2]
    p.sum().backward()
    assert x.grad.shape == shape


def test_strides_do_not_matter(form):
    """Transposed and expanded scores, and an expanded gradient."""
    x = scores(5, 3, 5).transpose(0, 1)
    torch.testing.assert_close(sinkhorn(x)[0], sinkhorn(x.contiguous())[0])
    wide = scores(4, 4).expand(3, 4, 4)
    torch.testing.assert_close(sinkhorn(wide)[0][2], sinkhorn(wide[0])[0])
    leaf = x.clone().requires_grad_()
    sinkhorn(leaf, 1.0, 3)[0].sum().backward()
    torch.testing.assert_close(leaf.grad, torch.zeros_like(leaf))


@pytest.mark.parametrize("tau", [0.05, torch.tensor([0.5, 1.0, 0.05])])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_compiled_equals_eager(tau, dtype):
    """As one graph, value, residual and gradient; the same sample from the same key."""
    x = scores(3, 6, 6, dtype=dtype)
    x[:, 0, 1] = -INF
    keys = fold_in(5, torch.arange(3))
    for operation in (
        sinkhorn,
        lambda x, t: gumbel_sinkhorn(x, t, key=keys),
    ):
        results = []
        for run in (operation, compiled(operation)):
            leaf = x.clone().requires_grad_()
            p, residual = run(leaf, tau)
            assert not residual.requires_grad
            (g,) = torch.autograd.grad(p.square().sum(), leaf)
            results.append((p.detach(), residual, g))
        for eager, graph in zip(*results, strict=True):
            tolerance = {torch.float16: 2e-3, torch.float32: 1e-5, torch.float64: 1e-11}[dtype]
            assert eager.dtype == graph.dtype
            bound = tolerance * max(1.0, float(eager.abs().max()))
            torch.testing.assert_close(graph, eager, rtol=0, atol=bound)


def test_vectorizes_and_differentiates_forward():
    """Vmap, vmap of grad and jvp agree with eager loops, over scores and temperatures."""
    x, taus = scores(3, 4, 4), torch.tensor([0.1, 0.5, 2.0]).double()
    x[:, 0, 1] = -INF
    together = torch.vmap(sinkhorn)(x, taus)
    for got, expected in zip(together, sinkhorn(x, taus), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)

    def loss(x: Tensor, tau: Tensor) -> Tensor:
        return sinkhorn(x, tau)[0].square().sum()

    leaves = x.clone().requires_grad_(), taus.clone().requires_grad_()
    expected = torch.autograd.grad(sinkhorn(*leaves)[0].square().sum(), leaves)
    for got, slope in zip(
        torch.vmap(torch.func.grad(loss, (0, 1)))(x, taus), expected, strict=True
    ):
        torch.testing.assert_close(got, slope, rtol=1e-9, atol=1e-10)
    tangents = torch.ones_like(x).tril(), torch.tensor([1.0, -1.0, 0.5]).double()
    _, rate = torch.func.jvp(lambda *a: sinkhorn(*a)[0].square().sum(), (x, taus), tangents)
    truth = sum((g * t).sum() for g, t in zip(expected, tangents, strict=True))
    torch.testing.assert_close(rate, truth, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sample_balances_perturbed_scores(dtype):
    """With the noise of the same key, or of a generator in the same state."""
    x = scores(2, 3, 5, 5, dtype=dtype)
    keys = fold_in(7, torch.arange(6).view(2, 3))
    sources = (lambda: {"key": 3}, lambda: {"key": keys}, lambda: {"generator": seeded(4)})
    for source in sources:
        gumbel = Noise(**source()).gumbel(1, x)[0]
        p, residual = gumbel_sinkhorn(x, 0.5, 10, **source())
        expected = sinkhorn(x + gumbel, 0.5, 10)
        torch.testing.assert_close(p, expected[0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(residual, expected[1], rtol=1e-4, atol=1e-5)


def test_a_matrix_depends_on_its_own_key_alone():
    """Not on its batch; and other keys, or none, give other samples."""
    x, keys = scores(4, 5, 5), fold_in(1, torch.arange(4))
    together = gumbel_sinkhorn(x, key=keys)[0]
    for i in range(4):
        alone = gumbel_sinkhorn(x[i : i + 1], key=keys[i : i + 1])[0][0]
        torch.testing.assert_close(together[i], alone, rtol=1e-12, atol=1e-14)
    same = gumbel_sinkhorn(torch.zeros(2, 5, 5), key=0)[0]
    assert (same[0] - same[1]).abs().max() > 1e-3
    assert gumbel_sinkhorn(torch.zeros(3, 3))[0].unique().numel() == 9


def test_a_generator_leaves_the_global_one_alone():
    """And in the same state gives the same sample."""
    before = torch.get_rng_state()
    samples = [gumbel_sinkhorn(torch.zeros(3, 3), generator=seeded(1))[0] for _ in range(2)]
    assert torch.equal(*samples)
    assert torch.equal(before, torch.get_rng_state())


def test_noise_is_not_lost_beside_large_scores():
    """At 1e8, where float32 counts in eights, a sample is that at 0."""
    zero, shifted = (gumbel_sinkhorn(torch.full((4, 4), c), key=2)[0] for c in (0.0, 1e8))
    assert torch.equal(zero, shifted)


def test_what_is_saved_for_the_backward_pass():
    """The scores, the kernel and two vectors an iteration: under 3.1 matrices, of n = 50."""
    x = scores(4, 50, 50, dtype=torch.float32).requires_grad_()
    kept = {}

    def pack(t: Tensor) -> Tensor:
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        sinkhorn(x)
    assert sum(kept.values()) <= 3.1 * 4 * x.numel()


REFUSED = [
    (torch.zeros(3, 3, dtype=torch.int64), {}, TypeError, "log_alpha: expected a real floating"),
    (torch.zeros(3), {}, ValueError, "log_alpha: expected square matrices (*batch, n, n), got sh"),
    (torch.zeros(2, 3, 4), {}, ValueError, "log_alpha: expected square matrices (*batch, n, n)"),
    (torch.tensor([[NAN, 0], [INF, 0]]), {}, ValueError, "got 1 NaN and 1 +inf among 4 of shape"),
    (torch.tensor([[-INF, -INF], [0, 0]]), {}, ValueError, "got 1 row(s) and 0 column(s) of -inf"),
    (torch.tensor([[-INF, 0], [-INF, 0]]), {}, ValueError, "got 0 row(s) and 1 column(s) of -inf"),
    (torch.zeros(2, 2), {"tau": -1.0}, ValueError, "tau: expected a temperature >= 0"),
    (torch.zeros(2, 2), {"tau": torch.tensor(NAN)}, ValueError, "tau: expected a temperature >= 0"),
    (torch.zeros(2, 2), {"tau": 0.0}, ValueError, "tau: expected a temperature > 0, got 0.0; its"),
    (torch.zeros(2, 2), {"tau": torch.zeros(())}, ValueError, "linear_sum_assignment(log_alpha, "),
    (torch.zeros(4, 2, 2), {"tau": torch.ones(2)}, ValueError, "tau: expected a shape that broad"),
    (torch.zeros(2, 2), {"n_iters": 0}, ValueError, "n_iters: expected an integer >= 1, got 0"),
    (torch.zeros(2, 2), {"tol": -1.0}, ValueError, "tol: expected a tolerance >= 0 (0 never stops"),
    (torch.zeros(2, 2), {"tol": math.nan}, ValueError, "tol: expected a tolerance >= 0"),
]


@pytest.mark.parametrize(("log_alpha", "options", "error", "message"), REFUSED)
@pytest.mark.parametrize("operation", [sinkhorn, gumbel_sinkhorn])
def test_what_is_refused(operation, log_alpha, options, error, message):
    """With what was expected, what came and what to do."""
    with pytest.raises(error, match=re.escape(message)):
        operation(log_alpha, **options)


@pytest.mark.parametrize("tau", [INF, 1e300])
def test_infinite_temperature_is_uniform(tau):
    """Over what is allowed."""
    x = scores(3, 3, dtype=torch.float32)
    torch.testing.assert_close(sinkhorn(x, tau)[0], torch.full((3, 3), 1 / 3))
