"""Rows of several tensors, as many at a time as a cache holds."""

from collections.abc import Iterator

from torch import Tensor

CHUNK = 2**18  # elements of one tensor


def chunks(*tensors: Tensor) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
    """The number of the first row, and rows `(rows, K)` of tensors of one shape `(*batch, K)`.

    As many rows as make about CHUNK elements of one tensor. Small tensors come whole.
    """
    classes = tensors[0].shape[-1]
    rows = tuple(t.reshape(-1, classes) for t in tensors)
    if tensors[0].numel() <= CHUNK:
        yield 0, rows
        return
    step = max(1, CHUNK // classes)
    for first in range(0, len(rows[0]), step):
        yield first, tuple(t[first : first + step] for t in rows)
