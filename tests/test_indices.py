"""Class indices: their law at every size, dtype and edge, and how much memory they take."""

import pytest
import torch
from torch import Tensor

from acceptance import assert_counts, assert_poisson, seeded
from reparam.functional import gumbel_max, gumbel_softmax, sample_indices
from reparam.kernels import indices
from reparam.noise import Noise

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
INF = float("inf")


def zipf(classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Logits -log(rank), shuffled, the seventh class impossible."""
    logits = -(torch.randperm(classes, generator=seeded(0)) + 1.0).log()
    logits[7] = -INF
    return logits.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [16, 300, 2500])
@pytest.mark.parametrize("keyed", [False, True])
def test_frequencies_are_the_softmax_of_the_logits(classes, dtype, keyed):
    """One and two levels and the race, in groups of rows; chi-square, false fail 1e-7."""
    logits = zipf(classes, dtype)
    n, rows = (1, 3000) if keyed else (4, 10_000)
    source = {"key": 5} if keyed else {"generator": seeded(1)}
    draws = sample_indices(logits.expand(8, rows, -1), n, **source)
    assert draws.shape == (n, 8, rows)
    counts = torch.bincount(draws.flatten(), minlength=classes)
    p = torch.softmax(logits.double(), -1)
    frequent = p * draws.numel() >= 20
    together = torch.cat([p[frequent], p[~frequent].sum().view(1)])
    assert counts[7] == 0
    assert_counts(torch.cat([counts[frequent], counts[~frequent].sum().view(1)]), together)


@pytest.mark.parametrize("n", [1, 40])
def test_every_level_finds_its_class_exactly(n):
    """The inverse against the cumulative sum in float64, at given levels, ends included."""
    rows = torch.randn(5, 1000, generator=seeded(0))
    rows[:, :3] = rows[:, -3:] = -INF
    u = torch.rand(5, n, generator=seeded(1), dtype=torch.float64)
    u[0, 0], u[1, 0] = 2.0**-53, 1 - 2.0**-53
    upto = torch.softmax(rows.double(), -1).cumsum(-1)
    found = indices._inverse(rows, u)
    before = upto.gather(-1, (found - 1).clamp(min=0)) * (found > 0)
    assert ((upto.gather(-1, found) > u - 1e-6) & (before < u + 1e-6)).all()
    assert found.min() == 3
    assert found.max() == 996
    assert indices._two_levels(1000, n) is (n == 1)


def test_the_tail_is_whole():
    """A race of 16384 classes 18 nats behind: Poisson(29.5), false fail 1e-6, by both ways."""
    logits = torch.full((16_384,), -18.0)
    logits[0] = 0
    expected = 120_000 * float(1 - torch.softmax(logits.double(), -1)[0])
    draws = sample_indices(logits, 120_000, generator=seeded(3))
    assert_poisson(int((draws > 0).sum()), expected)


@pytest.mark.parametrize("size", [2**24 + 2, 2**25])
def test_more_classes_than_torch_can_count(size):
    """Past 2**24 classes, where torch.multinomial refuses: the light upper half has a third.

    600,000 draws: .003 is 4.9 standard errors, false fail 9e-7.
    """
    logits = torch.zeros(size)
    logits[size // 2 :] -= torch.tensor(2.0).log()
    draws = sample_indices(logits, 600_000, generator=seeded(4))
    assert abs((draws >= size // 2).double().mean() - 1 / 3) <= 0.003
    assert draws.max() < size
    one = gumbel_max(logits, generator=seeded(4))
    assert 0 <= one < size


@pytest.mark.parametrize("classes", [12, 5000])
def test_a_key_gives_the_class_of_the_hard_sample(classes):
    """gumbel_max and gumbel_softmax(hard=True) agree, in one chunk and in many."""
    logits = torch.randn(700, classes, generator=seeded(0))
    points = gumbel_softmax(logits, hard=True, key=9)
    assert torch.equal(gumbel_max(logits, key=9), points.argmax(-1))


@pytest.mark.parametrize("classes", [40, 4000])
@pytest.mark.parametrize("source", [{"generator": None}, {"key": 1}], ids=["level", "race"])
@pytest.mark.parametrize(
    ("dtype", "size"), [(torch.float32, 1e8), (torch.bfloat16, 1e8), (torch.float64, 1e12 + 0.1)]
)
def test_equal_logits_of_any_size_share_the_wins(classes, dtype, size, source):
    """The lower half of the classes has a half: 40,000 draws, false fail 1e-7."""
    logits = torch.full((40, classes), size, dtype=dtype)
    n = 1000 if "generator" in source else 1
    if n == 1:
        logits = logits.repeat(100, 1)
    else:
        source = {"generator": seeded(0)}
    draws = sample_indices(logits, n, **source)
    assert draws.max() < classes
    low = int((draws < classes // 2).sum())
    assert_counts(torch.tensor([low, draws.numel() - low]), torch.tensor([0.5, 0.5]))


def test_dims_masks_and_layouts():
    """Classes along any dimension, masked ones never, of tensors that are not contiguous."""
    logits = torch.zeros(60, 300, 2).transpose(0, 1)
    mask = (torch.arange(300) % 2 == 0).view(300, 1, 1)
    index = gumbel_max(logits, 0, mask=mask, generator=seeded(0))
    assert index.shape == (60, 2)
    assert (index % 2 == 0).all()
    assert index.unique().numel() > 50


@pytest.mark.parametrize("n", [0, 1.5])
def test_a_wrong_count_is_refused(n):
    """The message says what was expected."""
    with pytest.raises(ValueError, match="n: expected an integer >= 1"):
        sample_indices(torch.zeros(3), n)


@pytest.mark.parametrize("classes", [100, 3000])
def test_rows_do_not_depend_on_their_neighbours(classes):
    """With per-row keys, a row draws the same alone, in a batch, and in another order."""
    logits = torch.randn(64, classes, generator=seeded(0))
    keys = torch.arange(64) * 3
    whole = sample_indices(logits, 2, key=keys)
    order = torch.randperm(64, generator=seeded(1))
    assert torch.equal(sample_indices(logits[order], 2, key=keys[order]), whole[:, order])
    for row in (0, 17):
        alone = sample_indices(logits[row : row + 1], 2, key=keys[row : row + 1])
        assert torch.equal(alone[:, 0], whole[:, row])


def test_the_kernel_is_the_plain_race():
    """By key, the chunked race picks the class of the plain formula."""
    logits = torch.randn(300, 33, generator=seeded(0))
    plain = (logits + Noise(key=2).gumbel(3, logits)).argmax(-1)
    assert torch.equal(indices.sample_indices(logits, 3, Noise(key=2)), plain)


@pytest.mark.parametrize("classes", [40, 4000])
@pytest.mark.parametrize("source", [{"generator": seeded(0)}, {"key": 1}], ids=["level", "race"])
def test_float64_logits_keep_their_differences_beside_a_large_shift(classes, source):
    """A class 40 nats above the others wins, at 1e12, where float32 has steps of 65,536."""
    logits = torch.full((100, classes), 1e12, dtype=torch.float64)
    logits[:, 5] += 40
    assert sample_indices(logits, 1, **source).eq(5).all()
