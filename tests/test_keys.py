"""Keyed noise: a function of the key alone, on every path, in every batch, in every process."""

import subprocess
import sys

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal, OneHotCategorical

import reparam as rp
from acceptance import assert_follows, needs_compiler, seeded
from reparam.functional import gumbel_max, gumbel_softmax
from reparam.kernels.exponentials import exponentials
from reparam.noise import Noise, bits, fold_in

KINDS = (
    *("uniform", "exponential", "gumbel", "logistic", "normal", "half_normal", "laplace"),
    *("cauchy", "half_cauchy"),
)
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def draw(kind: str, key: int | Tensor, like: Tensor, n: int = 2) -> Tensor:
    """n sets of one kind of noise."""
    return getattr(Noise(key=key), kind)(n, like)


def reference(state: int, counter: int) -> int:
    """The 52 bits of one counter, in Python's own integers."""
    z = (state ^ counter) * 0x9E3779B97F4A7C15 % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return (z ^ z >> 31) >> 12


def test_bits_are_those_of_the_definition():
    """Integer arithmetic that wraps around, against arithmetic that does not."""
    starts = fold_in(torch.tensor([0, -1, 2**62]), 7)
    got = bits(starts, each=3, n=2, columns=5)
    assert got.shape == (2, 3, 3, 5)
    for i, m, row, j in torch.cartesian_prod(*(torch.arange(s) for s in got.shape)).tolist():
        counter = (i * 3 + row) << 3 | j
        assert int(got[i, m, row, j]) == reference(int(starts[m]) % 2**64, counter)


def test_folding_mixes_every_number_in_its_place():
    """Integers and tensors agree; order, place and sign matter; int64 wraps."""
    assert fold_in(3, 1, 2) != fold_in(3, 2, 1) != fold_in(1, 2, 3)
    assert 0 <= fold_in(2**64 - 1, -5) < 2**64
    keys = fold_in(3, torch.arange(-2, 3), 8)
    assert [int(k) % 2**64 for k in keys] == [fold_in(3, i, 8) for i in range(-2, 3)]
    assert fold_in(torch.arange(3).view(3, 1), torch.arange(4)).unique().numel() == 12


def test_bits_of_neighbouring_keys_and_counters_are_independent():
    """Each of 52 bits is even to 5.5 standard errors (4e-8 each), and so is each pair's product."""
    starts = fold_in(torch.arange(400), 1)
    words = bits(starts, each=25, n=1, columns=40).view(400, 1000)
    signs = 2.0 * ((words.unsqueeze(-1) >> torch.arange(52)) & 1) - 1
    bound = 5.5 / signs[..., 0].numel() ** 0.5
    assert signs.mean((0, 1)).abs().max() < bound
    for shifted in (signs.roll(1, 0), signs.roll(1, 1), signs.roll(1, 2), signs.roll(40, 1)):
        assert (signs * shifted).mean((0, 1)).abs().max() < bound


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_depends_on_its_key_alone(kind, dtype):
    """Alone, in a slice of the batch or in another order, a row draws the same; keys differ."""
    keys = fold_in(4, torch.arange(6).view(3, 2))
    like = torch.empty(3, 2, 5, dtype=dtype)
    whole = draw(kind, keys, like)
    assert torch.equal(draw(kind, keys[1:], like[1:]), whole[:, 1:])
    assert torch.equal(draw(kind, keys[2, 1], like[2, 1]), whole[:, 2, 1])
    assert torch.equal(draw(kind, keys[2, 1:].view(1, 1), like[2:, 1:]), whole[:, 2:, 1:])
    assert whole.unique().numel() == whole.numel()
    # More samples begin with the same ones.
    assert torch.equal(draw(kind, keys, like, 4)[:2], whole)


@pytest.mark.parametrize("kind", KINDS)
def test_keyed_noise_has_its_law(kind):
    """Kolmogorov-Smirnov over 1000 keys, false fail 1e-7."""
    law = {
        "uniform": stats.uniform(),
        "exponential": stats.expon(),
        "gumbel": stats.gumbel_r(),
        "half_normal": stats.halfnorm(),
        "normal": stats.norm(),
        "half_cauchy": stats.halfcauchy(),
    }.get(kind) or getattr(stats, kind)()
    assert_follows(draw(kind, torch.arange(1000), torch.empty(1000, 50)), law.cdf)


def test_further_noise_from_one_source_is_new():
    """A source counts its calls: an estimator that draws twice does not draw the same."""
    source = Noise(key=1)
    assert source.gumbel(1, torch.empty(3)).unique().numel() == 3
    assert not torch.equal(source.gumbel(1, torch.empty(3)), Noise(key=1).gumbel(1, torch.empty(3)))


@needs_compiler
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4, 5), (4, 3, 5)])
def test_eager_and_compiled_draw_the_same(dtype, shape):
    """For a number and for keys per row, to rounding, in one compiled graph with its gradient."""
    logits = torch.randn(shape, generator=seeded(0)).to(dtype)
    weight = torch.arange(shape[-1], dtype=dtype)

    def sample(logits: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        hard = gumbel_softmax(logits, 0.7, hard=True, key=key)
        return gumbel_softmax(logits, 0.7, key=key) @ weight, hard

    for key in (torch.tensor(3), fold_in(3, torch.arange(shape[0]))):
        torch._dynamo.reset()
        results = []
        for function in (sample, torch.compile(sample, fullgraph=True)):
            x = logits.clone().requires_grad_()
            soft, hard = function(x, key)
            results.append((hard, soft, *torch.autograd.grad(soft.sum(), x)))
        for eager, compiled in zip(*results, strict=True):
            torch.testing.assert_close(eager, compiled)


@pytest.mark.parametrize("columns", [1, 2, 3, 8, 10, 33, 1000])
@pytest.mark.parametrize("key", [5, torch.arange(90)])
def test_chunks_are_filled_with_the_same_noise(columns, key):
    """Exponentials of the kernels, however the rows are split, are the source's own."""
    like = torch.empty(90, columns)
    whole = Noise(key=key).exponential(1, like)[0]
    fill = exponentials(like, Noise(key=key).streams(1, like))
    parts = [fill(torch.empty(size, columns)) for size in (1, 50, 39)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-6, atol=0)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("classes", [8, 40])
def test_large_and_small_batches_draw_the_same(classes, hard):
    """The fast path, the plain formula, masks and other dimensions: one sample to a key."""
    logits = torch.randn(1000, classes, generator=seeded(0))
    keys = fold_in(1, torch.arange(1000))
    whole = gumbel_softmax(logits, 0.5, hard, key=keys)
    part = gumbel_softmax(logits[:50], 0.5, hard, key=keys[:50])
    everything = torch.ones(classes, dtype=torch.bool)
    masked = gumbel_softmax(logits, 0.5, hard, key=keys, mask=everything)
    turned = gumbel_softmax(logits.T, 0.5, hard, 0, key=keys).T
    tight = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(whole[:50], part, **tight)
    torch.testing.assert_close(whole, masked, **tight)
    torch.testing.assert_close(whole, turned, **tight)


def test_a_number_numbers_the_rows():
    """One integer for the batch: rows differ, and are no prefix of each other's stream."""
    y = gumbel_softmax(torch.zeros(50, 6), key=0)
    assert y.unique().numel() == y.numel()
    assert torch.equal(y, gumbel_softmax(torch.zeros(50, 6), key=torch.tensor(0)))


ROWS = {
    "gumbel-softmax": rp.GumbelSoftmax(),
    "straight-through-gumbel-softmax": rp.StraightThroughGumbelSoftmax(),
    "rloo": rp.Rloo(),
    "rebar": rp.Rebar(),
    "gumbel-rao": rp.GumbelRao(k=3),
    "reinmax": rp.ReinMax(),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("binary", [False, True])
def test_estimators_draw_each_row_from_its_key(name, binary):
    """Points of a row in a batch, in a slice and in Independent are those of its key."""
    way, keys = ROWS[name], fold_in(2, torch.arange(4))
    logits = torch.randn(4, 3, 5, generator=seeded(0))
    law = Bernoulli if binary else OneHotCategorical

    def points(logits: Tensor, keys: Tensor) -> Tensor:
        q = Independent(law(logits=logits), 2 if binary else 1)
        return way.draw(q, 2, key=keys).points

    whole = points(logits, keys)
    torch.testing.assert_close(points(logits[1:3], keys[1:3]), whole[:, 1:3])
    assert not torch.equal(whole[:, 1], whole[:, 2])


def test_pathwise_points_follow_their_keys():
    """A Gaussian row is its key's, whatever the batch."""
    loc, keys = torch.arange(5.0), torch.arange(5)
    whole = rp.Pathwise().draw(Normal(loc, 1.0), 3, key=keys).points
    part = rp.Pathwise().draw(Normal(loc[2:4], 1.0), 3, key=keys[2:4]).points
    assert torch.equal(whole[:, 2:4], part)


def test_another_process_draws_the_same():
    """The same key, in a fresh interpreter."""
    code = (
        "import torch, reparam as rp;"
        "print(rp.functional.gumbel_softmax(torch.zeros(3, 4), key=rp.fold_in(1, 2)).tolist())"
    )
    told = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    here = gumbel_softmax(torch.zeros(3, 4), key=fold_in(1, 2))
    assert told.stdout.strip() == str(here.tolist())


def test_vmap_takes_keys():
    """Under vmap over keys, each draws its own; over logits alone, the key's noise is shared."""
    logits, keys = torch.randn(5, 4, generator=seeded(0)), torch.arange(5)

    def one(logits: Tensor, key: Tensor) -> Tensor:
        return gumbel_softmax(logits, key=key)

    together = torch.vmap(one)(logits, keys)
    alone = torch.stack([one(*pair) for pair in zip(logits, keys, strict=True)])
    torch.testing.assert_close(together, alone)
    shared = torch.vmap(lambda x: one(x, keys[0]))(torch.zeros(3, 4))
    assert torch.equal(shared[0], shared[1])


@pytest.mark.parametrize("key", [1.5, True, torch.zeros(3), torch.zeros(3).int(), "seed"])
def test_a_key_of_another_kind_is_refused(key):
    """The message says what was expected, and how keys per row are made."""
    for use in (
        lambda: gumbel_max(torch.zeros(3, 4), key=key),
        lambda: fold_in(key, 1),
        lambda: fold_in(torch.arange(3), key),
    ):
        with pytest.raises(TypeError, match="key: expected an integer or an int64 tensor"):
            use()


@pytest.mark.parametrize("shape", [(2,), (3, 4), (4,), (3, 5, 1)])
def test_keys_of_another_shape_are_refused(shape):
    """The message tells both shapes."""
    with pytest.raises(ValueError, match="with the shape of the batch, the first dimensions of"):
        gumbel_max(torch.zeros(3, 5), key=torch.zeros(shape, dtype=torch.int64))


def test_two_sources_are_refused():
    """A key beside a generator contradicts it."""
    with pytest.raises(ValueError, match="got generator= and key="):
        gumbel_softmax(torch.zeros(3), generator=seeded(0), key=1)
