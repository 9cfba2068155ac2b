"""Class indices from logits on the CPU, in chunks, without a tensor of the logits' size.

The plain formula is `(logits + G).argmax(-1)`, a race that takes one random number for each class.
One for each draw is enough: the inverse of the distribution function; for many classes in two
levels, blocks of about sqrt(K / n) classes first and then the classes of one block. A key has its
race, so that it gives the class that it gives to every other operation.
"""

from collections.abc import Iterator
from math import isqrt, log

import torch
from torch import Tensor

from reparam.checks import no_autocast, working_dtype
from reparam.kernels.exponentials import exponentials
from reparam.noise import Noise

CHUNK = 2**18  # elements
MANY = 256  # classes from which two levels are faster than one
FEW = 64  # classes up to which counting is faster than searching
COMPARISONS = 2**18  # of levels, at once
TOGETHER = 64  # rows whose second level is looked up at once


def sample_indices(logits: Tensor, n: int, noise: Noise) -> Tensor:
    """Indices `(n, *batch)`, int64, of logits `(*batch, K)` with an allowed class in every row."""
    rows = logits.detach().reshape(-1, logits.shape[-1])
    index = torch.empty((n, len(rows)), dtype=torch.int64)
    with no_autocast(rows):
        if noise.key is None:
            u = noise.uniform(n, torch.empty(len(rows), dtype=torch.float64))
            together = TOGETHER if _two_levels(rows.shape[-1], n) else 1
            for part in _groups(len(rows), max(together, CHUNK // rows.shape[-1])):
                index[:, part] = _inverse(rows[part], u[:, part].T).T
        else:
            _race(rows, index, noise.streams(n, logits))
    return index.view(n, *logits.shape[:-1])


def _groups(total: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, total, size))


def _race(rows: Tensor, index: Tensor, streams: tuple[Tensor, int]) -> None:
    """The first of exponentials E_j / p_j to arrive, chunk by chunk, for each draw."""
    size = max(1, CHUNK // 4 // rows.shape[-1])  # a key's counters weigh as four logits
    blank = torch.empty((min(size, len(rows)), rows.shape[-1]))
    draw = exponentials(torch.empty(()).expand(index.numel(), rows.shape[-1]), streams)
    for i in range(len(index)):
        for part in _groups(len(rows), size):
            x = rows[part].to(working_dtype(rows.dtype))
            z = draw(blank[: len(x)]).log_()
            # The largest becomes 0 first: beside logits of 1e8 the noise would be lost to rounding.
            index[i, part] = torch.sub(x - x.amax(-1, keepdim=True), z, out=z).max(-1).indices


def _two_levels(classes: int, n: int) -> bool:
    return classes >= MANY and n * isqrt(classes) < classes


def _inverse(rows: Tensor, u: Tensor) -> Tensor:
    """The classes at levels u `(N, n)` of the distribution functions of rows `(N, K)`."""
    if not _two_levels(rows.shape[-1], u.shape[-1]):
        top = rows.amax(-1, keepdim=True).to(working_dtype(rows.dtype))
        upto = _exp_(rows - top).double().cumsum(-1)
        return _find(upto, u * upto[:, -1:])
    # As many entries in the blocks that are looked into as there are blocks.
    width = isqrt(rows.shape[-1] // u.shape[-1])
    # float64 holds the sums: a class of probability 1e-12 keeps it to the sixth digit.
    sums, top = _block_sums(rows, width)
    upto = sums.cumsum(-1)
    level = u * upto[:, -1:]
    block = _find(upto, level)
    before = torch.where(block > 0, upto.gather(-1, (block - 1).clamp(min=0)), 0)
    share = (level - before) / (upto.gather(-1, block) - before)
    columns = block.unsqueeze(-1) * width + torch.arange(width)
    beyond = columns >= rows.shape[-1]
    near = (
        rows.gather(-1, columns.masked_fill(beyond, 0).flatten(1)).view(columns.shape).to(top.dtype)
    )
    mass = _exp_(near - top.unsqueeze(-1)).masked_fill_(beyond, 0).double().cumsum(-1)
    return block * width + _find(mass, share.unsqueeze(-1) * mass[..., -1:]).squeeze(-1)


def _block_sums(rows: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Sums of exp(row - top) over blocks of `width` classes, the last one perhaps narrower.

    With top `(N, 1)`, the largest of each row.
    """
    blocks = -(-rows.shape[-1] // width)
    sums = torch.empty((len(rows), blocks), dtype=torch.float64)
    top = torch.empty((len(rows), 1), dtype=working_dtype(rows.dtype))
    step = max(1, CHUNK // width)  # blocks at a time
    size = max(1, CHUNK // rows.shape[-1])
    room = top.new_empty(min(size, len(rows)) * min(rows.shape[-1], step * width))
    for part in _groups(len(rows), size):
        top[part] = rows[part].amax(-1, keepdim=True)
        for first in range(0, blocks, step):
            x = rows[part, first * width : (first + step) * width]
            piece = room[: x.numel()].view(x.shape)
            _exp_(torch.sub(x, top[part], out=piece))
            whole = piece.shape[-1] // width
            inside = piece[:, : whole * width].view(len(piece), whole, width)
            sums[part, first : first + whole] = inside.sum(-1)
            if whole * width < piece.shape[-1]:
                sums[part, first + whole] = piece[:, whole * width :].sum(-1)
    return sums, top


def _exp_(x: Tensor) -> Tensor:
    """exp in place, by powers of 2, which torch takes four times as fast: of -x, x eps too far."""
    return x.mul_(1 / log(2)).exp2_()


def _find(upto: Tensor, level: Tensor) -> Tensor:
    """Where cumulative sums first exceed the levels.

    A level that rounding took to the total is taken below it: an empty class is never found.
    """
    level = torch.minimum(level, upto[..., -1:].nextafter(upto.new_zeros(())))
    if upto.shape[-1] <= FEW:
        return _count(upto.flatten(0, -2), level.flatten(0, -2)).view(level.shape)
    return torch.searchsorted(upto, level.contiguous(), right=True)


def _count(upto: Tensor, level: Tensor) -> Tensor:
    """How many of the sums `(N, K)` are at most the levels `(N, n)`.

    A search has fewer comparisons, and branches that no processor predicts.
    """
    classes = upto.shape[-1]
    rows = max(1, COMPARISONS // (level.shape[-1] * classes))
    below = upto.new_empty(min(len(upto), rows), level.shape[-1], classes)
    found, ones = torch.empty_like(level), upto.new_ones(classes)
    for part in _groups(len(upto), len(below)):
        sums, levels = upto[part].unsqueeze(1), level[part].unsqueeze(2)
        inside = torch.le(sums, levels, out=below[: len(sums)])
        found[part] = inside @ ones
    return found.long()
