"""`Images`, a training and a test set of intensities, and the error for unusable files."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from reparam.noise import Key, Noise


class DataError(Exception):
    """The file is there but cannot be used; the message says what was expected and what came."""


@dataclass(frozen=True, eq=False)
class Images:
    """A training and a test set of images of one shape (C, H, W).

    Args:
        name: what to call the set in a report and in errors.
        train: training intensities in [0, 1], float32, shape (N, C, H, W).
        test: test intensities in [0, 1], float32, shape (M, C, H, W).
        redraw: draw training pixels anew as Bernoulli(intensity) at every visit
            (dynamic binarization); `train` then holds the probabilities.
        note: one sentence on how the pixels were treated and what the split is.

    Raises:
        DataError: if a tensor has another type, rank or shape, is empty, or holds NaN or values
            outside [0, 1].

    >>> images = Images("tiny", torch.rand(6, 1, 2, 2), torch.rand(2, 1, 2, 2))
    >>> images.shape
    (1, 2, 2)
    >>> images.batch(torch.tensor([0, 5])).shape
    torch.Size([2, 1, 2, 2])
    """

    name: str
    train: Tensor = field(repr=False)
    test: Tensor = field(repr=False)
    redraw: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        for part, values in (("training", self.train), ("test", self.test)):
            _check_layout(values, f"{self.name}, {part} images")
            _check_range(values, f"{self.name}, {part} images")
        if self.train.shape[1:] != self.test.shape[1:]:
            raise DataError(
                f"{self.name}: expected training and test images of one shape (C, H, W), "
                f"got {tuple(self.train.shape[1:])} and {tuple(self.test.shape[1:])}; "
                "resize one of them"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image, the last two in pixels."""
        _, channels, height, width = self.train.shape
        return channels, height, width

    def batch(self, indices: Tensor, key: Key | None = None) -> Tensor:
        """Return the training images at `indices`, shape (B, C, H, W), drawn anew if `redraw`.

        Args:
            indices: integers, shape (B,), on the device of `train` or on the CPU.
            key: of the redrawn pixels: a number, or one for each image, int64 of shape (B,). None
                is torch's global generator.
        """
        rows = self.train[indices]
        return (Noise(key=key).uniform(1, rows)[0] < rows).float() if self.redraw else rows


def from_bytes(pixels: Tensor) -> Tensor:
    """Return bytes 0..255 as float32 intensities in [0, 1], of the same shape.

    >>> from_bytes(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    return pixels.to(torch.float32).div_(255)


def _check_layout(values: Tensor, where: str) -> None:
    if values.dtype != torch.float32 or values.ndim != 4 or values.numel() == 0:
        kind = str(values.dtype).removeprefix("torch.")
        raise DataError(
            f"{where}: expected float32 of shape (N, C, H, W) with at least one image, "
            f"got {kind} of shape {tuple(values.shape)}"
        )


def _check_range(values: Tensor, where: str) -> None:
    low, high = values.aminmax()
    # NaN spreads to both ends and fails the comparison, so one pass finds every fault.
    if low >= 0 and high <= 1:
        return
    absent = values.isnan()
    outside = ((values < 0) | (values > 1)).sum()
    present = values[~absent]
    span = f"[{present.min():g}, {present.max():g}]" if present.numel() else "none"
    raise DataError(
        f"{where}: expected intensities in [0, 1], got {absent.sum()} NaN and {outside} values "
        f"outside, of {values.numel()} (range of the numbers: {span}); "
        "clean and rescale them before loading"
    )
