"""Bias, variance and what follows from them, of K blocks of trials, with 95 % intervals.

Everything is a function of Gram matrices between the blocks' mean gradients, which add up over
tensors. Block k of the estimator goes with block k of the truth, so that the uncertainty of a
sampled truth is in every interval. Squared norms are U-statistics: products of different blocks
alone, without the bias of a squared mean.
"""

from functools import cache
from math import exp, inf, isnan, nan
from typing import NamedTuple

import torch
from torch import Tensor

from reparam.diagnostics.trials import BLOCKS

QUANTILE = 2.1314495
"""97.5 % of Student's t with 15 degrees of freedom, one less than there are blocks."""
ALARM = 1e-3
"""How often an unbiased estimator is called biased."""
TINY = torch.finfo(torch.float64).tiny


class Interval(NamedTuple):
    """An estimate and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Grams(NamedTuple):
    """Products of K blocks' mean gradients x, of the truth's blocks r and of a centre c.

    error: of x_k - r_k. spread: of x_k - c. size: of x_k. truth: of r_k. cross: x_k by r_l.
    square: mean squared distance of a single gradient to c, `(K)`. All the others are `(K, K)`.
    """

    error: Tensor
    spread: Tensor
    size: Tensor
    truth: Tensor
    cross: Tensor
    square: Tensor


def grams(mean: Tensor, truth: Tensor, square: Tensor) -> Grams:
    """Of some tensors' mean gradients and true ones, `(K, D)` each."""
    centre = truth.mean(0)
    pairs = [(mean - truth, mean - truth), (mean - centre, mean - centre)]
    pairs += [(mean, mean), (truth, truth), (mean, truth)]
    error, spread, size, true, cross = (a @ b.T for a, b in pairs)
    return Grams(error, spread, size, true, cross, square)


def added(parts: list[Grams]) -> Grams:
    """The Gram matrices of several tensors together."""
    return Grams(*(torch.stack(same).sum(0) for same in zip(*parts, strict=True)))


def figures(g: Grams, trials: int, eps: float) -> dict[str, float]:
    """Every statistical figure, flat: an interval's ends are `name_low` and `name_high`.

    trials: in each block. eps: of the gradients' precision; what is below their rounding is 0.
    """
    floor = (100 * eps) ** 2 * max(_pairs(g.truth), g.square.mean().item(), _pairs(g.size))
    keep = torch.cat([torch.ones(1, BLOCKS), 1 - torch.eye(BLOCKS)]).double()
    variance, mse, cosine = _estimates(g, trials, keep)
    variance, mse = (x * (0 if x[0] <= floor else 1) for x in (variance, mse))
    bias, p = norm_squared(g.error), bias_p(g.error)
    found = {
        "bias": _rooted(bias),
        "variance": _positive(variance),
        "mse": _positive(mse),
        "snr": _rooted(_ratio(norm_squared(g.size), _positive(variance))),
        "cosine": _within(cosine),
    }
    row: dict[str, float] = {}
    for name, interval in found.items():
        row |= flat(name, interval)
    row |= {"bias_p": p, "biased": p < ALARM and bias.value > floor}
    return row | {"truth": max(_pairs(g.truth), 0.0) ** 0.5, "truth_error": _error(g.truth)}


def flat(name: str, interval: Interval) -> dict[str, float]:
    """An interval as three entries of a row."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), interval, strict=True))


def _estimates(g: Grams, trials: int, keep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Variance, mean squared error and cosine, from the blocks that each row of `keep` keeps."""
    blocks = keep.sum(-1)
    total = blocks * trials

    def whole(gram: Tensor) -> Tensor:
        return ((keep @ gram) * keep).sum(-1)

    def pairs(gram: Tensor) -> Tensor:
        return (whole(gram) - keep @ gram.diagonal()) / (blocks * (blocks - 1))

    between = whole(g.spread) / blocks.square()
    variance = total * (keep @ g.square / blocks - between) / (total - 1)
    size = (pairs(g.size).clamp(min=TINY) * pairs(g.truth)).clamp(min=0).sqrt()
    return variance, variance + pairs(g.error), whole(g.cross) / blocks.square() / size


def _pairs(gram: Tensor) -> float:
    """A squared norm, from products of different blocks."""
    return (gram.sum() - gram.trace()).item() / (BLOCKS * (BLOCKS - 1))


def _error(gram: Tensor) -> float:
    """Standard error of the mean block: the root of its expected squared distance."""
    spread = (gram.trace() - gram.sum() / BLOCKS).clamp(min=0) / (BLOCKS * (BLOCKS - 1))
    return spread.sqrt().item()


def norm_squared(gram: Tensor) -> Interval:
    """The squared norm of the mean: all that U, its estimate, does not contradict.

    U has variance 4 b'Sb + 2 tr(S^2) K / (K - 1) around |b|^2 = beta, S the covariance of the mean
    b of K blocks (Hoeffding 1948). With b'Sb / beta estimated, (U - beta)^2 <= t^2 var(beta) is
    quadratic in beta: right near 0, where U is a sum of squares, and far from it, where it is
    normal.
    """
    k, u = BLOCKS, _pairs(gram)
    mean = gram.mean()
    from_mean = gram.mean(-1) - mean  # (x_k - mean) . mean
    along = (from_mean.square().sum() / ((k - 1) * k * mean.clamp(min=TINY))).item()
    centred = gram - gram.mean(-1, keepdim=True) - gram.mean(-2, keepdim=True) + mean
    trace = centred.trace() / (k - 1)
    squares = centred.square().sum() / (k - 1) ** 2 - trace.square() / (k - 1)
    # Of the trace of the blocks' squared covariance: Bai & Saranadasa 1996.
    unbiased = (k - 1) ** 2 / ((k - 2) * (k + 1)) * squares.clamp(min=0)
    noise = 2 * unbiased.item() / (k * (k - 1))
    middle = u + 2 * QUANTILE**2 * along
    reach = max(middle**2 - u**2 + QUANTILE**2 * noise, 0.0) ** 0.5
    return Interval(u, middle - reach, middle + reach)


def bias_p(error: Tensor) -> float:
    """The chance of a mean error this large if there is no bias: exact if errors are symmetric.

    Then every sign of every block's error is as likely; the mean is compared under all of them.
    """
    signs = _signs()
    norms = ((signs @ error) * signs).sum(-1)
    return (norms >= norms[0] * (1 - 1e-9)).double().mean().item()


@cache
def _signs() -> Tensor:
    """Every choice of signs, up to a common one; the first changes none."""
    rest = torch.tensor([1.0, -1.0], dtype=torch.float64)
    return torch.cartesian_prod(torch.ones(1).double(), *[rest] * (BLOCKS - 1))


def _deviation(values: Tensor) -> float:
    """Jackknife standard error; values: of all blocks, then without each."""
    without = values[1:]
    around = (without - without.mean()).square().sum()
    return (around * (BLOCKS - 1) / BLOCKS).sqrt().item()


def _positive(values: Tensor) -> Interval:
    """On the logarithmic scale, where what is positive is closer to normal."""
    value = max(values[0].item(), 0.0)
    if value == 0:
        return Interval(0.0, 0.0, 0.0)
    factor = exp(min(QUANTILE * _deviation(values) / value, 700))
    return Interval(value, value / factor, value * factor)


def _within(values: Tensor) -> Interval:
    """A cosine; nothing is known of it where the truth is 0."""
    value, reach = values[0].item(), QUANTILE * _deviation(values)
    if isnan(value) or isnan(reach):
        return Interval(nan, -1.0, 1.0)
    clipped = (min(max(x, -1.0), 1.0) for x in (value, value - reach, value + reach))
    return Interval(*clipped)


def _ratio(top: Interval, bottom: Interval) -> Interval:
    """By the distances of either's ends on the logarithmic scale (MOVER; Zou & Donner 2008)."""
    if bottom.value == 0:
        return Interval(inf, inf, inf)
    a, b = (torch.tensor(x, dtype=torch.float64).clamp(min=TINY).log() for x in (top, bottom))
    low = a[0] - b[0] - torch.hypot(a[0] - a[1], b[2] - b[0])
    high = a[0] - b[0] + torch.hypot(a[2] - a[0], b[0] - b[1])
    value, least, most = (x.exp().item() for x in (a[0] - b[0], low, high))
    return Interval(value if top.value > 0 else 0.0, least if top.low > 0 else 0.0, most)


def _rooted(squared: Interval) -> Interval:
    return Interval(*(max(x, 0.0) ** 0.5 for x in squared))


def median(seconds: list[float]) -> Interval:
    """The median, and order statistics between which it lies."""
    ordered = sorted(seconds)
    count = len(ordered)
    reach = 1.96 * count**0.5 / 2
    low, high = max(int(count / 2 - reach), 0), min(int(count / 2 + reach) + 1, count - 1)
    return Interval(ordered[count // 2], ordered[low], ordered[high])
