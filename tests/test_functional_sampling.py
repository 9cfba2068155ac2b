"""Functional operations: the laws of what they sample, in every dtype and out to the tail."""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from acceptance import assert_counts, assert_follows, assert_poisson, needs_compiler, seeded
from reparam.functional import gumbel_max, gumbel_softmax

DTYPES = [torch.float16, torch.bfloat16, torch.float32]
SAMPLERS = {"torch": torch.nn.functional.gumbel_softmax, "reparam": gumbel_softmax}
EULER = 0.5772156649  # the mean of a Gumbel variable


def tally(logits: Tensor, chunk: int, chunks: int) -> Tensor:
    """How often each class wins in chunk * chunks draws."""
    rows, k = logits.expand(chunk, -1), len(logits)
    draws = (gumbel_max(rows, generator=seeded(seed)) for seed in range(chunks))
    return sum(torch.bincount(index, minlength=k) for index in draws)


@pytest.mark.parametrize("dtype", DTYPES)
def test_zipf_frequencies_survive_every_dtype(dtype):
    """K = 64, logits + 8, a million draws; false fail 1e-7.

    Bfloat16 noise (chi2/dof 80.9 at 1.6e7 draws) would give 6 against the 2.1 accepted, and
    pass below 1e-9. Float16 noise is caught by the exact comparison in test_functional.
    """
    logits = (8 - torch.arange(1, 65).log()).to(dtype)
    assert_counts(tally(logits, 2**15, 32), torch.softmax(logits.double(), -1))


def test_uniform_classes_keep_their_halves_in_bfloat16():
    """K = 1000: half the mass to +-.006, which 166,000 draws leave at rate 1e-6.

    Bfloat16 noise puts .982 on the first half.
    """
    counts = tally(torch.zeros(1000, dtype=torch.bfloat16), 8300, 20)
    assert abs(counts[:500].sum() / counts.sum() - 0.5) <= 0.006


@needs_compiler
def test_the_compiled_gumbel_tail_is_whole():
    """15.0 of 2.7e8 draws exceed 16.7; the compiler's own end at 16.64: caught for certain.

    Read off soft samples: log y is G up to a constant per row, which the row's mean tells to .01.
    """

    @torch.compile(backend="inductor", fullgraph=True)
    def tail() -> Tensor:
        log_y = gumbel_softmax(torch.zeros(1, 2**14).expand(2**9, -1)).log()
        return (log_y - log_y.mean(-1, keepdim=True) > 16.7 - EULER).sum()

    with torch.random.fork_rng():
        torch.manual_seed(0)
        hits = sum(int(tail()) for _ in range(32))
    assert_poisson(hits, 2**28 * math.exp(-16.7))


def test_equal_logits_of_any_size_share_the_wins():
    """Equal logits at 1e8: a quarter each; index 0 of 4 took .947 before. False fail 1e-7."""
    assert_counts(tally(torch.full((4,), 1e8), 10_000, 1), torch.full((4,), 0.25))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("dim", [0, -1])
def test_the_same_call_samples_the_same_law_as_torch(name, hard, dim):
    """Both against the closed form, false fail 2e-7 each: winners, and tau log(y1/y0) logistic.

    A CDF wrong by .018, or noise of another scale (.02 for 10%), passes at 1e-7.
    """
    logits = torch.tensor([0.3, -0.9]).expand(100_000, 2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        y = SAMPLERS[name](logits.movedim(-1, dim), tau=0.7, hard=hard, dim=dim).movedim(dim, -1)
    assert y.shape == logits.shape
    torch.testing.assert_close(y.sum(-1), torch.ones(100_000))
    winners = torch.bincount(y.argmax(-1), minlength=2)
    assert_counts(winners, torch.softmax(logits[0].double(), -1))
    if hard:
        assert torch.equal(y, torch.nn.functional.one_hot(y.argmax(-1), 2).float())
    else:
        log_odds = 0.7 * (y[:, 1].double().log() - y[:, 0].double().log())
        assert_follows(log_odds, stats.logistic(-1.2).cdf)


@pytest.mark.parametrize("sample", [gumbel_max, gumbel_softmax])
def test_a_generator_fixes_the_sample_and_spares_the_global_one(sample):
    """Same seed, same sample; without one, the global seed decides."""
    logits, before = torch.zeros(5, 40), torch.get_rng_state()
    first = sample(logits, generator=seeded(1))
    assert torch.equal(first, sample(logits, generator=seeded(1)))
    assert not torch.equal(first, sample(logits, generator=seeded(2)))
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng():
        sample(logits)
        assert not torch.equal(before, torch.get_rng_state())


def test_rows_do_not_share_noise():
    """Equal rows draw different winners: 64 in agreement have probability 8^-63."""
    assert gumbel_max(torch.zeros(64, 8), generator=seeded(0)).unique().numel() > 1
