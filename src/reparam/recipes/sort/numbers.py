"""Sequences of numbers, written with images of digits."""

import torch
from torch import Tensor

from reparam.data.labelled import LabelledImages
from reparam.noise import Key, Noise

TESTED = 2000
"""Sequences that are tested at most: each of so many test images begins one."""


class Numbers:
    """Sequences of n numbers of some digits each, which may be equal.

    train: 0, 1, ..., one for each sequence of an epoch; what it stands for is drawn at every visit.
    test: images `(M, n, C, H, digits * W)` and values `(M, n)`, always the same.

    >>> from reparam.data.labelled import load_labelled
    >>> numbers = Numbers(load_labelled("digits"), sequences=50, n=3, digits=2)
    >>> images, values = numbers.batch(numbers.train[:4], key=0)
    >>> images.shape, values.shape
    (torch.Size([4, 3, 1, 8, 16]), torch.Size([4, 3]))
    """

    def __init__(self, images: LabelledImages, sequences: int, n: int, digits: int) -> None:
        self.images, self.n, self.digits = images, n, digits
        self.name = images.name
        self.note = (
            f"Sequences of {n} numbers of {digits} digit{'s' if digits > 1 else ''}, drawn anew at "
            f"every visit; {images.note}"
        )
        self.train = torch.arange(sequences)
        count = len(images.test[0])
        first = torch.arange(min(TESTED, count)) * count // min(TESTED, count)
        others = torch.randint(
            count, (len(first), n * digits - 1), generator=torch.Generator().manual_seed(0)
        )
        self.test = self._written(*images.test, torch.cat([first.unsqueeze(1), others], 1))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the image of a number."""
        channels, height, width = self.images.shape
        return channels, height, self.digits * width

    def batch(self, indices: Tensor, key: Key) -> tuple[Tensor, Tensor]:
        """As many sequences as indices, of images drawn uniformly, as `test` holds them.

        key: a number, or one for each sequence, int64 `(B,)`.
        """
        images, labels = self.images.train
        like = torch.empty(len(indices), self.n * self.digits, dtype=torch.float64)
        rows = (len(labels) * Noise(key=key).uniform(1, like)[0]).long()
        return self._written(images, labels, rows)

    def _written(self, images: Tensor, labels: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        rows = rows.view(-1, self.n, self.digits)
        places = self.images.classes ** torch.arange(self.digits - 1, -1, -1)
        return images[rows].movedim(2, -2).flatten(-2), (labels[rows] * places).sum(-1)
