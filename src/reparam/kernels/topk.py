"""The k largest classes: drawn without replacement on the CPU, and relaxed to a k-hot vector.

The plain formula of both draws is `logits + noise.gumbel(...)`. Here noise comes from raw integers,
rows pass in chunks that stay in the cache, and the perturbed logits are never held all at once.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from reparam.checks import inspectable
from reparam.kernels.exponentials import Source, exponentials

CHUNK = 131_072  # elements
WIDE = 65_536  # classes of one row that are perturbed at once
SMALLEST = 2_000  # elements, below which one call costs more than it saves
STEPS = {torch.float32: 5, torch.float64: 6}  # of Newton's method: errors below 1e-9, 1e-15


def serves(rows: Tensor) -> bool:
    """Whether the draws in chunks are faster than the plain formula, for the size and the dtype."""
    return (
        inspectable()
        and rows.dtype != torch.float64
        and rows.device.type == "cpu"
        and rows.numel() >= SMALLEST
    )


def chunks(rows: Tensor) -> Iterator[slice]:
    """Rows of `(N, K)` that fit in the cache together."""
    size = max(1, CHUNK // rows.shape[-1])
    return (slice(start, start + size) for start in range(0, len(rows), size))


def gumbel_topk(rows: Tensor, k: int, source: Source) -> tuple[Tensor, Tensor]:
    """The k largest of rows + G `(N, K)`, sorted: values in float32 and indices, `(N, k)`."""
    values = rows.new_empty((len(rows), k), dtype=torch.float32)
    indices = torch.empty((len(rows), k), dtype=torch.int64)
    draw = exponentials(rows, source)
    # A key's noise for a row comes as a whole.
    width = rows.shape[-1] if isinstance(source, tuple) else WIDE
    for part in chunks(rows):
        values[part], indices[part] = _largest(rows[part], k, draw, width)
    return values, indices


def relaxed_topk(rows: Tensor, k: int, tau: Tensor, source: Source) -> tuple[Tensor, Tensor]:
    """`soft_topk` of rows + G `(N, K)` at temperatures `(N, 1)`, in float32."""
    y = torch.empty_like(rows, dtype=torch.float32, memory_format=torch.contiguous_format)
    indices = torch.empty((len(rows), k), dtype=torch.int64)
    draw = exponentials(rows, source)
    for part in chunks(rows):
        x, z = rows[part], draw(y[part]).log_()
        torch.sub(x - x.amax(-1, keepdim=True).float(), z, out=z)
        relaxed, indices[part] = soft_topk(z, k, tau[part])
        z.copy_(relaxed)
    return y, indices


def soft_topk(z: Tensor, k: int, tau: Tensor) -> tuple[Tensor, Tensor]:
    """sigmoid((z - nu) / tau) with the nu that makes rows `(*batch, K)` sum to k < K, and the k.

    tau: `(*batch, 1)`, a normal number. The second result: indices of the k largest.

    With s = (z - middle) / tau, middle halfway between the last of the k and the first of the
    others, d = (nu - middle) / tau balances what the k miss and the others have,
    sum sigmoid(d - s) = sum sigmoid(s - d). The logarithm of their quotient has a slope in d
    between -2 and -1/2, and its root lies in [-log k, log(K - k)]: Newton's method meets no corner.
    """
    top, indices = z.topk(k + 1, -1)
    indices, last = indices[..., :k], top[..., k - 1 : k]
    limits = torch.finfo(z.dtype)
    half_gap = ((last - top[..., k:]) / tau).clamp(max=limits.max) / 2
    few = (top[..., :k] - last) / tau + half_gap
    many = ((z - last) / tau + half_gap).scatter(-1, indices, -torch.inf)
    d = torch.zeros_like(last)
    for _ in range(STEPS[z.dtype]):
        # Where both are below the smallest number, any d will do.
        missed, missed_slope = _sum_and_slope(d - few, limits.tiny)
        had, had_slope = _sum_and_slope(many - d, limits.tiny)
        d = d + (had / missed).log() / (missed_slope + had_slope)
        d = d.clamp(-math.log(k), math.log(z.shape[-1] - k))
    return torch.sigmoid(many - d).scatter(-1, indices, torch.sigmoid(few - d)), indices


def _sum_and_slope(x: Tensor, tiny: float) -> tuple[Tensor, Tensor]:
    """The sum of sigmoid(x) and the slope of its logarithm as x moves, both positive."""
    y = torch.sigmoid(x)
    total = y.sum(-1, keepdim=True).clamp(min=tiny)
    return total, 1 - (y * y).sum(-1, keepdim=True) / total


def _largest(
    x: Tensor, k: int, draw: Callable[[Tensor], Tensor], width: int
) -> tuple[Tensor, Tensor]:
    """The k largest perturbed logits of each row, and where they are."""
    top = x.amax(-1, keepdim=True).float()
    found = []
    for first in range(0, x.shape[-1], width):
        # The largest becomes 0 first: beside logits of 1e8 the noise would be lost to rounding.
        z = x[:, first : first + width] - top
        z -= draw(torch.empty_like(z)).log_()
        values, index = z.topk(min(k, z.shape[-1]), -1)
        found.append((values, index + first))
    values, index = (torch.cat(parts, -1) for parts in zip(*found, strict=True))
    if len(found) > 1:
        values, best = values.topk(k, -1)
        index = index.gather(-1, best)
    return values + top, index
