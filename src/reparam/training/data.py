"""What the loop asks of data: a training and a test set, of which it takes rows."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from torch import Tensor

Batch: TypeAlias = Tensor | tuple[Tensor, ...]
"""Examples along the first dimension: of one tensor (images, counts of words), or of several side
by side (images and their labels)."""


class Data(Protocol):
    """A training and a test set; `reparam.data.Images` is one.

    name: what the report calls it. note: a sentence on what was done to it, for the report.
    """

    @property
    def name(self) -> str: ...

    @property
    def note(self) -> str: ...

    @property
    def train(self) -> Batch:
        """The training set, on the CPU."""

    @property
    def test(self) -> Batch:
        """The test set, likewise."""

    def batch(self, indices: Tensor, keys: Tensor, /) -> Batch:
        """The training examples at `indices`, `(B,)`, as a step is to see them.

        keys: int64 `(B,)`, of whatever is drawn anew for an example at each visit.
        """


def count(batch: Batch) -> int:
    """How many examples.

    >>> count((torch.zeros(5, 1, 8, 8), torch.zeros(5)))
    5
    """
    return len(batch) if isinstance(batch, Tensor) else len(batch[0])


def each(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The same change made to every tensor.

    >>> each((torch.arange(4), torch.ones(4)), lambda tensor: tensor[::2])
    (tensor([0, 2]), tensor([1., 1.]))
    """
    return change(batch) if isinstance(batch, Tensor) else tuple(map(change, batch))
