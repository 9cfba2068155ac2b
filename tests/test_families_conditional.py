"""Noise given its outcome: it keeps the outcome, and it is distributed as noise that led there."""

import pytest
import torch
from scipy.special import expit
from torch import Tensor
from torch.distributions import Bernoulli, OneHotCategorical

from acceptance import assert_follows, seeded
from family_cases import CASES, every_relaxable, set_logits
from reparam.families import family
from reparam.noise import Noise


def given_noise(z: Tensor) -> Noise:
    """Fixed uniforms of z's shape, most of them far in a tail."""
    u = torch.rand(z.shape, generator=seeded(3), dtype=torch.float64)
    tail = 10 ** (-300 * torch.rand(z.shape, generator=seeded(4), dtype=torch.float64))
    return Noise(uniforms=torch.where(u < 0.3, tail, torch.where(u < 0.6, 1 - 1e-16, u)))


@every_relaxable
def test_conditional_noise_keeps_the_trace(name):
    """For every trace, under native noise and under uniforms out to 1e-300, in both dtypes."""
    for dtype in (torch.float64, torch.float32):
        q = CASES[name]
        f = family(q)
        set_logits(f, f.logits.to(dtype))
        # Of scores that have one law, all traces are equally likely.
        scores = torch.randn(5000, *f.logits.shape, generator=seeded(1), dtype=dtype)
        trace = f.trace(scores)
        for noise in (Noise(seeded(2)), given_noise(scores)):
            z = f.condition(trace, noise)
            assert z.isfinite().all()
            assert torch.equal(f.trace(z), trace)


def test_bernoulli_noise_given_the_outcome_is_a_truncated_logistic():
    """KS, 1e5 draws: a CDF wrong by .0130 passes at 1e-7, fails at 1e-7. Swapped outcomes: 1."""
    for logit in (-2.0, 0.3, 4.0):
        f = family(Bernoulli(logits=torch.tensor(logit, dtype=torch.float64)))
        for outcome in (0.0, 1.0):
            points = torch.full((100_000,), outcome, dtype=torch.float64)
            z = f.condition(points, Noise(seeded(1)))
            below = expit(-logit)  # P(z < 0)
            low, high = (0.0, below) if outcome == 0 else (below, 1.0)
            assert_follows(
                z, lambda x, low=low, high=high, at=logit: (expit(x - at) - low) / (high - low)
            )


def test_gumbel_noise_given_the_winner_has_its_three_laws():
    """KS as above, for every winner i and loser j, with p normalized.

    The winner is Gumbel(0). A loser has CDF e^-a + (e^(-p a) - e^-a) / (1 - p) at x, a = e^-x,
    and is r / (1 + r), r = p (e^d - 1), below the winner by d: a winner drawn afresh fails that.
    """
    p = torch.tensor([0.55, 0.05, 0.1, 0.3], dtype=torch.float64)
    f = family(OneHotCategorical(logits=p.log()))
    for i in range(4):
        z = f.condition(torch.eye(4).double()[i].expand(200_000, 4), Noise(seeded(i)))
        assert_follows(z[:, i], lambda x: _exp(-_exp(-x)))
        for j in {0, 1, 2, 3} - {i}:
            p_j = p[j].item()
            assert_follows(
                z[:, j],
                lambda x, p=p_j: (
                    _exp(-_exp(-x)) + (_exp(-p * _exp(-x)) - _exp(-_exp(-x))) / (1 - p)
                ),
            )
            assert_follows(
                z[:, i] - z[:, j],
                lambda d, p=p_j: p * (_exp(d) - 1) / (1 + p * (_exp(d) - 1)),
            )


def _exp(x: object) -> Tensor:
    return torch.exp(torch.as_tensor(x))


@pytest.mark.parametrize("name", ["bernoulli", "onehot", "subset", "ranking", "top-ranking"])
def test_conditional_noise_over_all_traces_is_the_prior(name):
    """KS of every coordinate of condition(trace), traces from q, 2e5 draws; bound as above."""
    f = family(CASES[name])
    trace = f.trace(f.perturb(200_000, Noise(seeded(1))))
    noise = (f.condition(trace, Noise(seeded(2))) - f.logits).flatten(1)
    for column in noise.unbind(1):
        assert_follows(column, expit if name == "bernoulli" else lambda x: _exp(-_exp(-x)))
