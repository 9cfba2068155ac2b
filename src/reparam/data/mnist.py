"""MNIST, downloaded and checked, and any folder of IDX files that are named alike.

LeCun, Bottou, Bengio & Haffner, *Gradient-Based Learning Applied to Document Recognition*, 1998.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from reparam.data.download import fetch, user_cache, verified
from reparam.data.idx import IMAGES, LABELS, parse_idx, read_idx
from reparam.data.images import DataError, Images, from_bytes

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
TRAIN_LABELS, TEST_LABELS = "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"
SHA256 = {
    TRAIN: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    TEST: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Of the files after decompression: mirrors compress differently."""


def mnist(cache: Path | None = None, mirrors: Sequence[str] = MIRRORS) -> Images:
    """Return 60000 training and 10000 test images of shape (1, 28, 28), as published.

    Args:
        cache: folder to keep downloads in; the user's cache by default. What is already there
            under a name that `locate` knows is checked and not fetched.
        mirrors: addresses to download from, in order of preference.

    Raises:
        DataError: if a file has another checksum (it is then deleted) or no mirror delivers.
        ImportError: without pooch, if something is to be downloaded.
    """
    folder = (cache or user_cache()) / "mnist"
    return _published("mnist", [_checked(folder, stem, mirrors) for stem in (TRAIN, TEST)])


def mnist_labels(
    cache: Path | None = None, mirrors: Sequence[str] = MIRRORS
) -> tuple[Tensor, Tensor]:
    """Return the training and the test labels, bytes 0..9 of shapes (60000) and (10000).

    Takes and raises what `mnist` does.
    """
    folder = (cache or user_cache()) / "mnist"
    train, test = (_checked(folder, stem, mirrors, LABELS) for stem in (TRAIN_LABELS, TEST_LABELS))
    return train, test


def idx_folder(folder: Path) -> Images:
    """Return the images of a folder with IDX files of MNIST's names, of any height and width.

    Raises:
        DataError: if one of the two files is missing or unusable.
    """
    parts = [read_idx(_found(folder, stem)) for stem in (TRAIN, TEST)]
    return _published(folder.resolve().name, parts)


def idx_labels(folder: Path) -> tuple[Tensor, Tensor]:
    """Return the training and the test labels of such a folder, bytes of shapes (N) and (M).

    Raises:
        DataError: if one of the two files is missing or unusable.
    """
    train, test = (read_idx(_found(folder, s), LABELS) for s in (TRAIN_LABELS, TEST_LABELS))
    return train, test


def has_idx(folder: Path) -> bool:
    """Return whether a folder holds IDX files, to judge by their names."""
    return bool(_idx_names(folder))


def locate(folder: Path, stem: str) -> Path | None:
    """Return the file `stem` in a folder, gzipped or not, in either usual spelling, if any.

    >>> locate(Path("no such folder"), TRAIN) is None
    True
    """
    dotted = stem.replace("-idx", ".idx")
    names = (f"{stem}.gz", stem, f"{dotted}.gz", dotted)
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _checked(folder: Path, stem: str, mirrors: Sequence[str], rank: int = IMAGES) -> Tensor:
    path = locate(folder, stem)
    if path is None:
        path = fetch(f"{stem}.gz", folder, mirrors=mirrors, sha256=SHA256[stem])
    return parse_idx(verified(path, SHA256[stem]), path, rank)


def _found(folder: Path, stem: str) -> Path:
    path = locate(folder, stem)
    if path is None:
        raise DataError(
            f"{folder}: expected an IDX file named {stem} or {stem}.gz, "
            f"got {', '.join(_idx_names(folder))}; rename or add the missing one"
        )
    return path


def _idx_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*idx[0-9]-ubyte*") if path.is_file())


def _published(name: str, parts: Iterable[Tensor]) -> Images:
    train, test = (from_bytes(pixels).unsqueeze(1) for pixels in parts)
    note = f"{len(train)} training and {len(test)} test images, the split of the files."
    return Images(name, train, test, note=note)
