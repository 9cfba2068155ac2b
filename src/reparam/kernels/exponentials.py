"""Exponential noise for a tensor that is filled chunk by chunk, in float32 and in place.

torch's `exponential_` draws one value after the other; these come from raw integers. u keeps its
relative precision near 0, where the exponential is small and a class wins: -log of it reaches 22
from a generator and 36 from a key. Both ends are finite.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from reparam.noise import Noise, column_bits, mix_

Source = torch.Generator | tuple[Tensor, int] | None
"""A generator (None: the global one), or the streams of a key as `Noise.streams` gives them."""

LARGEST = 1 - 2.0**-24  # the last float32 below 1
LEAST = torch.tensor(-(2.0**-32), device="cpu")  # half a step below 0, so that u is not 0


def source_of(noise: Noise, n: int, like: Tensor) -> Source:
    """Where `exponentials` for n draws beside `like` `(*batch, K)` come from."""
    return noise.generator if noise.key is None else noise.streams(n, like)


def exponentials(like: Tensor, source: Source) -> Callable[[Tensor], Tensor]:
    """What fills the chunks `(rows, K)` of `like` `(N, K)` with Exponential(1), first to last."""
    if isinstance(source, tuple):
        return _Keyed(like, *source)
    words = torch.empty(0, dtype=torch.int64)  # two numbers each: twice as fast as drawn singly

    def fill(out: Tensor) -> Tensor:
        nonlocal words
        count = (out.numel() + 1) // 2
        if len(words) != count:
            words = torch.empty(count, dtype=torch.int64)
        bits = words.random_(-(2**63), None, generator=source).view(torch.int32)
        bits = bits.bitwise_and_(2**31 - 1)[: out.numel()].view(out.shape)
        out.copy_(bits)  # to add them as they are would make a copy too, in fresh memory
        return _negative_log1p_(torch.add(LEAST, out, alpha=-(2.0**-31) * LARGEST, out=out))

    return fill


def largest_gumbel(source: Source) -> float:
    """A bound on the absolute value of the logarithms of what `exponentials` fills in."""
    return 36.8 if isinstance(source, tuple) else 22.2  # 53 log 2, 32 log 2


class _Keyed:
    """The same values as `Noise(key=...).exponential` draws."""

    def __init__(self, like: Tensor, starts: Tensor, each: int) -> None:
        rows, columns = like.shape
        n = rows // max(1, len(starts) * each)
        row = torch.arange(n * each).view(n, 1, each) << column_bits(columns)
        self.states = (starts.view(-1, 1) ^ row).reshape(-1, 1)
        self.columns = torch.arange(columns)
        self.done = 0

    def __call__(self, out: Tensor) -> Tensor:
        states = self.states[self.done : self.done + len(out)]
        self.done += len(out)
        bits = mix_(states ^ self.columns)
        return _negative_log1p_(out.copy_(bits).add_(0.5).mul_(-(2.0**-52)).clamp_(min=-LARGEST))


def _negative_log1p_(u: Tensor) -> Tensor:
    return u.log1p_().neg_()
