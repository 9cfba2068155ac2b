"""Hold out a test set by a permutation that no seed, version or machine changes."""

import random

import torch
from torch import Tensor

from reparam.data.images import DataError


def fixed_permutation(count: int) -> Tensor:
    """Return a permutation of 0..count-1, shape (count,), the same for ever.

    Python promises the sequence of `Random.random` across versions; neither torch's `randperm`
    nor Python's own `shuffle` is promised, and a changed split would change every result.

    >>> fixed_permutation(5)
    tensor([3, 2, 4, 1, 0])
    """
    keys = random.Random(0)  # noqa: S311 -- a fixed order, not a secret
    order = [keys.random() for _ in range(count)]
    return torch.tensor(sorted(range(count), key=order.__getitem__))


def hold_out(values: Tensor, held: int) -> tuple[Tensor, Tensor]:
    """Return the training and the test part, shapes (N - held, ...) and (held, ...).

    >>> train, test = hold_out(torch.arange(5), held=2)
    >>> train, test
    (tensor([4, 1, 0]), tensor([3, 2]))
    """
    order = fixed_permutation(len(values))
    return values[order[held:]], values[order[:held]]


def hold_out_tenth(values: Tensor, where: str) -> tuple[Tensor, Tensor, str]:
    """Hold out one in ten, but at least one; return both parts and a note on the split.

    Raises:
        DataError: if there are fewer than two images to split.

    >>> train, test, note = hold_out_tenth(torch.arange(20), "twenty")
    >>> note
    '18 training and 2 test images, held out by a fixed permutation.'
    """
    if len(values) < 2:
        raise DataError(
            f"{where}: expected at least 2 images, one to hold out for the test, got {len(values)}"
        )
    train, test = hold_out(values, max(1, len(values) // 10))
    note = f"{len(train)} training and {len(test)} test images, held out by a fixed permutation."
    return train, test, note
