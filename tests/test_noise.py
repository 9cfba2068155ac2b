"""Standard noise: right law, right tails, right dtype, from one generator or given uniforms."""

import math
import re

import pytest
import torch
from scipy import stats
from torch import Tensor

from acceptance import assert_follows, assert_poisson, seeded
from reparam.noise import Noise

STANDARD = {
    "uniform": stats.uniform(),
    "exponential": stats.expon(),
    "gumbel": stats.gumbel_r(),
    "logistic": stats.logistic(),
    "normal": stats.norm(),
    "half_normal": stats.halfnorm(),
    "laplace": stats.laplace(),
    "cauchy": stats.cauchy(),
    "half_cauchy": stats.halfcauchy(),
}
WORKING = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
}
every_noise = pytest.mark.parametrize("name", STANDARD)


def drawn(name: str, n: int, like: Tensor, noise: Noise) -> Tensor:
    """Draw the noise of that name."""
    values: Tensor = getattr(noise, name)(n, like)
    return values


@every_noise
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_native_noise_follows_its_law(name, dtype):
    """A CDF wrong by .0130 anywhere, say a flipped Gumbel (.16), passes at 1e-7; fails at 1e-7."""
    values = drawn(name, 200, torch.empty(1000, dtype=dtype), Noise(seeded(1)))
    assert_follows(values, STANDARD[name].cdf)


@every_noise
def test_given_uniforms_come_out_as_quantiles(name):
    """The inverse distribution function, to 1e-12, from 1e-9 to 1 - 1e-9."""
    t = torch.linspace(-6, 6, 481, dtype=torch.float64)
    u = torch.special.ndtr(t)
    values = drawn(name, len(u), torch.empty((), dtype=torch.float64), Noise(uniforms=u))
    # scipy loses digits in the upper tail of some ppf; its isf keeps them, and 1 - u is exact.
    law = STANDARD[name]
    expected = torch.where(
        u < 0.5, torch.as_tensor(law.ppf(u.numpy())), torch.as_tensor(law.isf((1 - u).numpy()))
    )
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-12)


@every_noise
def test_given_uniforms_keep_their_tails_beside_float32(name):
    """The transform runs in the uniforms' own precision, and is cast once."""
    u = torch.tensor([1e-30, 1e-12, 0.5, 1 - 1e-12], dtype=torch.float64)
    wide = drawn(name, 4, torch.empty((), dtype=torch.float64), Noise(uniforms=u))
    narrow = drawn(name, 4, torch.empty(()), Noise(uniforms=u))
    assert wide.isfinite().all()
    assert torch.equal(narrow, wide.float())


@every_noise
@pytest.mark.parametrize("dtype", WORKING)
@pytest.mark.parametrize("given", [False, True])
def test_noise_is_single_or_double(name, dtype, given):
    """Half precision draws float32 noise; the rest their own dtype; shape (n, *like)."""
    source = Noise(uniforms=torch.full((3, 2, 4), 0.3)) if given else Noise(seeded(0))
    values = drawn(name, 3, torch.empty(2, 4, dtype=dtype), source)
    assert values.dtype == WORKING[dtype]
    assert values.shape == (3, 2, 4)


@every_noise
def test_noise_is_independent_across_draws_and_rows(name):
    """No two of the 6 columns correlate beyond 6 standard errors (3e-8 each); shared ones: 1."""
    values = drawn(name, 3, torch.empty(20_000, 2, dtype=torch.float64), Noise(seeded(2)))
    scores = torch.special.ndtri(torch.as_tensor(STANDARD[name].cdf(values.numpy())))
    columns = scores.permute(0, 2, 1).reshape(6, -1)
    correlation = torch.corrcoef(columns) - torch.eye(6, dtype=torch.float64)
    assert correlation.abs().max() < 6 / math.sqrt(20_000)


@every_noise
def test_a_generator_fixes_the_noise_and_spares_the_global_one(name):
    """The same seed gives the same noise; a further draw differs; the global state stays."""
    before = torch.get_rng_state()
    generator = seeded(5)
    first = drawn(name, 2, torch.empty(3), Noise(generator))
    assert torch.equal(first, drawn(name, 2, torch.empty(3), Noise(seeded(5))))
    assert not torch.equal(first, drawn(name, 2, torch.empty(3), Noise(generator)))
    assert torch.equal(before, torch.get_rng_state())


@every_noise
def test_without_a_generator_the_global_seed_decides(name):
    """torch.manual_seed reproduces the noise."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first = drawn(name, 2, torch.empty(3), Noise())
        torch.manual_seed(3)
        assert torch.equal(first, drawn(name, 2, torch.empty(3), Noise()))


@every_noise
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("compiling", [False, True])
def test_boundary_bits_give_finite_monotone_noise(name, dtype, compiling, monkeypatch):
    """The first and the last bin of the 52-bit uniform are as finite as the others."""
    bits = torch.tensor([0, 1, 2**20, 2**51, 2**52 - 2, 2**52 - 1])
    monkeypatch.setattr(torch, "randint_like", lambda *_, **__: bits)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    values = drawn(name, 6, torch.empty((), dtype=dtype), Noise())
    assert values.isfinite().all()
    if name in ("exponential", "gumbel") and compiling:
        steps = values.diff() * (1 if name == "exponential" else -1)
        assert (steps >= 0).all()
        assert steps[1] > 0
    if name == "uniform":
        assert ((values > 0) & (values < 1)).all()
        assert (values.diff() >= 0).all()


def test_the_gumbel_tail_is_whole():
    """15.0 of 2.7e8 draws exceed 16.7; a 24-bit uniform ends at 16.6: none, caught for certain."""
    like, hits = torch.empty(2**23), 0
    for seed in range(32):
        values = Noise(seeded(seed)).gumbel(1, like)
        hits += int((values > 16.7).sum())
        assert values.max() < 37  # else one bucket wins always: exceeded at rate 2e-8
    assert_poisson(hits, 2**28 * math.exp(-16.7))


@pytest.mark.parametrize(
    ("uniforms", "bad"), [([0.0, 0.5], 1), ([0.5, 1.0], 1), ([-1.0, torch.nan], 2)]
)
def test_uniforms_outside_the_open_interval_are_refused(uniforms, bad):
    """0, 1, negative and NaN entries are counted in the message."""
    with pytest.raises(ValueError, match=f"strictly between 0 and 1, got {bad} of 2 entries"):
        Noise(uniforms=torch.tensor(uniforms))


def test_uniforms_of_the_wrong_shape_are_refused():
    """The message says which shape was expected."""
    message = re.escape("shape (3, 2) = (n, *batch, *event), got (2, 3)")
    with pytest.raises(ValueError, match=message):
        Noise(uniforms=torch.full((2, 3), 0.5)).normal(3, torch.empty(2))


def test_two_sources_are_refused():
    """A generator and uniforms contradict each other."""
    with pytest.raises(ValueError, match="got generator= and noise="):
        Noise(seeded(0), torch.full((1,), 0.5))


def test_a_source_splits_into_parts():
    """Given uniforms along their first dimension; a generator serves every part in turn."""
    u = torch.rand(2, 3, 4, generator=seeded(0))
    like = torch.empty(4)
    parts = [part.uniform(3, like) for part in Noise(uniforms=u).split(2)]
    assert torch.equal(torch.stack(parts), u)
    first, second = (part.uniform(3, like) for part in Noise(seeded(0)).split(2))
    assert not torch.equal(first, second)
    message = re.escape("shape (5, n, *batch, *event), one set for each part of the draw, got (2,")
    with pytest.raises(ValueError, match=message):
        Noise(uniforms=u).split(5)
