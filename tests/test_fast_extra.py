"""The [fast] extra: compiled kernels equal the plain formula, and pure torch steps in for them."""

import importlib
import math
import os
import subprocess
import sys

import pytest
import torch
from scipy import stats

from acceptance import assert_counts, assert_follows, assert_poisson, seeded
from reparam import fast
from reparam.functional import gumbel_softmax, hard_argmax, soft_argmax
from reparam.kernels.gumbel_softmax import SMALLEST
from reparam.noise import Noise, fold_in

NAME = "reparam.kernels.gumbel_softmax.compiled"
needs_numba = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="needs pip install 'reparam[fast]'"
)
ROW_KEYS = fold_in(1, torch.arange(12).view(4, 3))


@pytest.fixture
def compiled():
    """The module under test."""
    return importlib.import_module(NAME)


@pytest.fixture
def loops():
    """Its loops."""
    return importlib.import_module("reparam.kernels.gumbel_softmax.loops")


@pytest.fixture
def undecided(monkeypatch):
    """Nothing is loaded yet, and no setting stands."""
    monkeypatch.delenv("REPARAM_FAST", raising=False)
    fast._loaded.cache_clear()
    yield monkeypatch
    fast._loaded.cache_clear()


def over(loops, name, values):
    """A scalar function of the loops, over a tensor."""
    function = getattr(loops, name)

    @loops.njit
    def fill(x, out):
        for i in range(len(x)):
            out[i] = function(x[i])

    out = torch.empty(values.shape)
    fill(values.numpy(), out.numpy())
    return out


def relative_error(got, truth):
    """The largest, beside float64."""
    return ((got.double() - truth) / truth).abs().max().item()


@needs_numba
@pytest.mark.parametrize("classes", [1, 2, 3, 8, 10, 33, 47, 48, 64, 1000, 50_257])
@pytest.mark.parametrize("tau", [1e-8, 0.1, 0.7, 2.0, 1e8])
@pytest.mark.parametrize(("n", "key"), [(1, 7), (3, -7), (2, ROW_KEYS[:, 0]), (2, ROW_KEYS)])
def test_equals_the_plain_formula_of_the_key(classes, tau, n, key, compiled):
    """The same key gives the formula's sample and winner, in every count of draws and of keys."""
    x = torch.randn(4, 3, classes, generator=seeded(0))
    z = x + Noise(key=key).gumbel(n, x)
    y, hard = (compiled.gumbel_softmax(x, tau, h, Noise(key=key), n) for h in (False, True))
    torch.testing.assert_close(y, soft_argmax(z, tau), atol=3e-5, rtol=0)
    assert torch.equal(hard, hard_argmax(z))


@needs_numba
@pytest.mark.parametrize("rows", [127, 128, 129, 40_001])
@pytest.mark.parametrize("classes", [7, 50])
def test_every_row_of_every_part_is_numbered(rows, classes, compiled):
    """Blocks and parts of rows that do not come out even; strided logits and gradients too."""
    x = torch.randn(classes, rows, generator=seeded(0)).t().requires_grad_()
    expected = soft_argmax(x.detach() + Noise(key=3).gumbel(1, x)[0], 0.7)
    for hard in (False, True):
        y = compiled.gumbel_softmax(x, 0.7, hard, Noise(key=3))
        torch.testing.assert_close(y, hard_argmax(expected) if hard else expected)
        for w in (torch.randn(classes, rows, generator=seeded(1)).t(), torch.ones(1, 1)):
            (got,) = torch.autograd.grad(y, x, w.expand(x.shape), retain_graph=True)
            truth = expected * (w - (expected * w).sum(-1, keepdim=True)) / 0.7
            torch.testing.assert_close(got, truth, rtol=1e-4, atol=1e-6)


@needs_numba
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("classes", [5, 60])
def test_second_derivative(hard, classes, compiled):
    """The derivative of the gradient is the plain formula's, to 1e-5."""
    x = torch.randn(6, classes, generator=seeded(0), requires_grad=True)
    w, direction = (torch.randn(6, classes, generator=seeded(s)) for s in (1, 2))

    def second(soft, points):
        (slope,) = torch.autograd.grad((points * w).sum(), x, create_graph=True)
        return torch.autograd.grad((slope * direction).sum() + soft.square().sum(), x)[0]

    plain = torch.softmax((x + Noise(key=5).gumbel(1, x)[0]) / 0.9, -1)
    y = compiled.gumbel_softmax(x, 0.9, False, Noise(key=5))
    points = compiled.gumbel_softmax(x, 0.9, hard, Noise(key=5))
    torch.testing.assert_close(second(y, points), second(plain, plain), rtol=1e-4, atol=1e-5)


@needs_numba
@pytest.mark.parametrize("classes", [5, 60])
def test_ties_go_to_the_first(classes, monkeypatch, compiled, loops):
    """Equal largest entries make one winner; so large a shared logit swallows the noise."""
    x = torch.zeros(9, classes)
    x[:, 2:] = 1e12
    hard = compiled.gumbel_softmax(x, 1.0, True, Noise(key=0))
    assert torch.equal(hard, torch.eye(classes)[2].expand(9, -1))


@needs_numba
def test_logarithms_and_exponential_are_exact(loops):
    """To 1, 3 and 2 units of 2^-24 or so, from the first bin's middle to the last float32."""
    tiny, last = 2.0**-53, 1 - 2.0**-24
    u = torch.cat([torch.logspace(math.log10(tiny), -1e-7, 300_000), torch.rand(300_000)])
    u = torch.cat([u, torch.tensor([tiny, 0.25, 0.5, 1 - 0.5**0.5, last])]).clamp(tiny, last)
    e = over(loops, "_exponential", u)
    assert relative_error(e, -torch.log1p(-u.double())) < 2e-7
    positive = torch.cat([e, 1 + torch.linspace(-0.5, 1, 300_001)])
    truth = positive.double().log()
    error = (over(loops, "_log", positive).double() - truth).abs()
    assert (error <= 1.2e-7 * truth.abs()).all()
    x = -torch.linspace(0, 87, 300_000)
    assert relative_error(over(loops, "_exp", x), x.double().exp()) < 2e-7
    x = torch.tensor([0.0, -100.0, -104.0, -3e38, -torch.inf])
    assert over(loops, "_exp", x).tolist() == pytest.approx([1, math.exp(-100), 0, 0, 0], abs=1e-45)


@needs_numba
def test_uniforms_are_those_of_the_key_at_both_ends(loops):
    """Counters whose bits are all zeros or all ones give the first bin's middle, and < 1."""
    # The finalizer maps 0 to 0; the counter of 2^64 - 1 comes from inverting its three steps.
    mask = 2**64 - 1

    def unshift(z, by):
        out = z
        for _ in range(64 // by + 1):
            out = z ^ (out >> by)
        return out

    z = unshift(mask, 31) * pow(0x94D049BB133111EB, -1, 2**64) & mask
    z = unshift(z, 27) * pow(0xBF58476D1CE4E5B9, -1, 2**64) & mask
    ones = unshift(z, 30) * pow(0x9E3779B97F4A7C15, -1, 2**64) & mask
    assert loops._uniform(loops.u8(0)) == 2.0**-53
    assert loops._uniform(loops.u8(ones)) == 1 - 2.0**-24


@needs_numba
@pytest.mark.parametrize("classes", [6, 60])
def test_generator_samples_follow_their_law(classes, compiled):
    """Winners by chi-square and a log-ratio by Kolmogorov-Smirnov, 2e5 rows; false fail 2e-7.

    A logit wrong by .1 fails with probability above 1 - 1e-6.
    """
    theta = torch.linspace(-1, 1, classes)
    x = theta.expand(200_000, classes)
    hard = compiled.gumbel_softmax(x, 1.0, True, Noise(seeded(1)))
    assert_counts(hard.sum(0), torch.softmax(theta.double(), 0))
    y = compiled.gumbel_softmax(x, 2.0, False, Noise(seeded(2)))
    assert_follows(2 * (y[:, 0] / y[:, -1]).log() - (theta[0] - theta[-1]), stats.logistic.cdf)


@needs_numba
def test_tail_is_that_of_52_bits(compiled):
    """G exceeds 16.7 in 15.0 of 2^28 draws; noise of 24 bits, which ends at 16.6, is refused.

    False fail 1e-6. exp(G / 4) has mean Gamma(3 / 4), and a row's sum is known to 0.3%.
    """
    classes = 2**14
    large, rest = math.exp(16.7 / 4), classes * math.gamma(0.75)
    rows, hits = torch.zeros(2**10, classes), 0
    for key in range(16):
        y = compiled.gumbel_softmax(rows, 4.0, False, Noise(key=key))
        hits += int((y > large / (rest + large)).sum())
    assert_poisson(hits, 2**28 * -math.expm1(-math.exp(-16.7)))


def test_same_generator_same_sample(undecided):
    """A generator's state decides the sample, on either path, and no other generator moves."""
    x = torch.randn(SMALLEST, 4, generator=seeded(0))
    before = torch.get_rng_state()
    for setting in ("0", None):
        if setting:
            undecided.setenv("REPARAM_FAST", setting)
        else:
            undecided.delenv("REPARAM_FAST")
        a, b = (gumbel_softmax(x, generator=seeded(5)) for _ in range(2))
        assert torch.equal(a, b)
        generator = seeded(5)
        first, second = (gumbel_softmax(x, generator=generator) for _ in range(2))
        assert torch.equal(a, first)
        assert not torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())


@needs_numba
@pytest.mark.parametrize("hard", [False, True])
def test_both_paths_give_a_key_one_sample(hard, undecided):
    """REPARAM_FAST=0 and =1 differ by rounding alone."""
    x = torch.randn(SMALLEST, 4, generator=seeded(0))
    samples = []
    for setting in ("0", "1"):
        undecided.setenv("REPARAM_FAST", setting)
        assert (fast.kernel(NAME) is None) == (setting == "0")
        samples.append(gumbel_softmax(x, 0.5, hard, key=9))
    torch.testing.assert_close(*samples, atol=1e-5, rtol=0)


def test_setting_is_checked(undecided):
    """Anything but 0 and 1 is refused by name."""
    undecided.setenv("REPARAM_FAST", "yes")
    with pytest.raises(ValueError, match=r"REPARAM_FAST: expected 0 .* got 'yes'"):
        fast.kernel(NAME)
    undecided.setenv("REPARAM_FAST", "0")
    assert fast.status() == "REPARAM_FAST=0: pure torch is used"


def test_without_numba_torch_is_used_in_silence(undecided):
    """Nobody asked for it: no warning, a status that says what to install, an error if forced."""
    undecided.setattr(fast, "find_spec", lambda name: None)
    assert fast.kernel(NAME) is None
    assert gumbel_softmax(torch.zeros(SMALLEST, 3)).shape == (SMALLEST, 3)
    assert fast.status() == (
        "numba is not installed: pip install 'reparam[fast]'; pure torch is used"
    )
    undecided.setenv("REPARAM_FAST", "1")
    with pytest.raises(RuntimeError, match=r"REPARAM_FAST=1: .* pip install 'reparam\[fast\]'"):
        gumbel_softmax(torch.zeros(SMALLEST, 3))


@needs_numba
def test_broken_compiler_is_warned_of_once(undecided):
    """The reason is given, once; then pure torch is used."""

    def broken(name):
        if name == NAME:
            raise OSError("no such instruction")
        return importlib.__import__(name)

    undecided.setattr(fast.importlib, "import_module", broken)
    with pytest.warns(RuntimeWarning, match=r"cannot compile here: OSError: no such instruction"):
        gumbel_softmax(torch.zeros(SMALLEST, 3))
    gumbel_softmax(torch.zeros(SMALLEST, 3))
    assert fast.status().endswith("OSError: no such instruction; pure torch is used")


@needs_numba
def test_interpreted_numba_is_left_out(undecided):
    """With NUMBA_DISABLE_JIT the loops would run in Python, a thousand times slower."""
    undecided.setattr(importlib.import_module("numba").config, "DISABLE_JIT", 1)
    assert fast.kernel(NAME) is None
    assert "NUMBA_DISABLE_JIT is set: unset it" in fast.status()


def in_new_process(code, **environment):
    """What the code prints in a process of its own."""
    return subprocess.run(  # noqa: S603 (our own code)
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@needs_numba
def test_compiled_once_for_all_processes(tmp_path):
    """The second process loads all three kernels from the cache, and compiles none."""
    code = (
        "from reparam.kernels.gumbel_softmax import loops\n"
        "for k in (loops.sample_narrow, loops.sample_wide, loops.pull_back):\n"
        "    print(sum(k.stats.cache_hits.values()))"
    )
    runs = [in_new_process(code, NUMBA_CACHE_DIR=str(tmp_path)).split() for _ in range(2)]
    assert runs == [["0"] * 3, ["1"] * 3]


@needs_numba
def test_where_nothing_can_be_cached_it_compiles_anew(monkeypatch):
    """With a warning that says what to set."""
    jit = importlib.import_module("reparam.kernels.jit")
    real = jit.njit

    def uncacheable(*args, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function 'f': no locator available for file 'f.py'")
        return real(*args, **options)

    monkeypatch.setattr(jit, "njit", uncacheable)
    with pytest.warns(RuntimeWarning, match=r"cannot cache .* set NUMBA_CACHE_DIR"):
        double = jit.compiled("float64(float64)")(lambda x: 2 * x)
    assert double(2.0) == 4.0


def test_importing_the_library_leaves_numba_alone():
    """Half a second is paid by the first call that gains from it."""
    code = (
        "import sys, torch, reparam, reparam.functional as f\n"
        "f.gumbel_softmax(torch.zeros(3)); print('numba' in sys.modules)"
    )
    assert in_new_process(code).strip() == "False"
