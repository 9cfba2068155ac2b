"""Many examples, some at a time."""

from collections.abc import Iterator

from torch import Tensor


def in_parts(
    examples: Tensor, size: int, key: Tensor | None
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """So many examples at a time, with their keys if they have any.

    >>> import torch
    >>> [(len(part), keys) for part, keys in in_parts(torch.zeros(3, 5), 2, None)]
    [(2, None), (1, None)]
    """
    for start in range(0, len(examples), size):
        here = slice(start, start + size)
        yield examples[here], None if key is None else key[here]
