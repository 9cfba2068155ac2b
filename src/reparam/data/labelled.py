"""Images with their labels side by side, to train on: built-in, or from a folder of IDX files."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from reparam.data.digits import HELD_OUT, digits
from reparam.data.extras import optional
from reparam.data.images import DataError, Images
from reparam.data.mnist import has_idx, idx_folder, idx_labels, mnist, mnist_labels
from reparam.data.split import hold_out
from reparam.noise import Key


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """A training and a test set of images of one shape (C, H, W), each with a label.

    Args:
        name: what to call the set in a report and in errors.
        train: intensities in [0, 1], float32, shape (N, C, H, W), and labels, int64, shape (N).
        test: the same, M of each.
        note: one sentence on what the split is.

    Raises:
        DataError: if there are not as many labels as images, or a label is below 0.

    >>> tiny = torch.rand(3, 1, 2, 2), torch.tensor([0, 4, 1])
    >>> data = LabelledImages("tiny", tiny, tiny)
    >>> data.shape, data.classes
    ((1, 2, 2), 5)
    """

    name: str
    train: tuple[Tensor, Tensor] = field(repr=False)
    test: tuple[Tensor, Tensor] = field(repr=False)
    note: str = ""

    def __post_init__(self) -> None:
        for part, (images, labels) in (("training", self.train), ("test", self.test)):
            if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
                kind = str(labels.dtype).removeprefix("torch.")
                raise DataError(
                    f"{self.name}: expected an int64 label for each of {len(images)} {part} "
                    f"images, got {kind} of shape {tuple(labels.shape)}; are both of one set?"
                )
            if labels.min() < 0:
                raise DataError(
                    f"{self.name}: expected {part} labels from 0, got {int(labels.min())}"
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image, the last two in pixels."""
        _, channels, height, width = self.train[0].shape
        return channels, height, width

    @property
    def classes(self) -> int:
        """One more than the largest label."""
        return 1 + max(int(labels.max()) for _, labels in (self.train, self.test))

    def batch(self, indices: Tensor, key: Key | None = None) -> tuple[Tensor, Tensor]:
        """Return the training images and labels at `indices`, (B, C, H, W) and (B).

        key: not used; it is what the training loop gives to every set.
        """
        images, labels = self.train
        return images[indices], labels[indices]


NAMED: dict[str, Callable[[Path | None], tuple[Images, tuple[Tensor, Tensor]]]] = {
    "digits": lambda _: (digits(), _digits_labels()),
    "mnist": lambda cache: (mnist(cache), mnist_labels(cache)),
}
"""Built-in sources; each is given the cache."""


def load_labelled(source: str | Path, *, cache: Path | None = None) -> LabelledImages:
    """Return the images of a source with their labels.

    Args:
        source: `"digits"`, `"mnist"`, or a path to a folder of IDX files of MNIST's names. A
            `Path` is always a path.
        cache: folder to keep downloads in; the user's cache by default.

    Raises:
        FileNotFoundError: if there is no such name or folder.
        DataError: if a file is missing, cannot be used, or cannot be downloaded.
        ImportError: if the source needs a package that is missing.

    >>> data = load_labelled("digits")
    >>> data.train[0].shape, data.train[1].shape, data.classes
    (torch.Size([1497, 1, 8, 8]), torch.Size([1497]), 10)
    """
    if isinstance(source, str) and source in NAMED:
        return _joined(*NAMED[source](cache))
    folder = Path(source).expanduser()
    if folder.is_dir() and has_idx(folder):
        return _joined(idx_folder(folder), idx_labels(folder))
    raise FileNotFoundError(
        f"expected {', '.join(NAMED)}, or a path to a folder of IDX files with images and labels, "
        f"got '{source}'"
    )


def _digits_labels() -> tuple[Tensor, Tensor]:
    scans = optional("sklearn.datasets", "the digits data set").load_digits()
    return hold_out(torch.from_numpy(scans.target), HELD_OUT)


def _joined(images: Images, labels: tuple[Tensor, Tensor]) -> LabelledImages:
    train, test = (part.to(torch.int64) for part in labels)
    return LabelledImages(images.name, (images.train, train), (images.test, test), note=images.note)
