"""Images of your own: a NumPy file, or a folder of pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

import torch
from torch import Tensor

from reparam.data.extras import optional
from reparam.data.images import DataError, Images, from_bytes
from reparam.data.split import hold_out_tenth

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARRAY_SUFFIXES = (".npy", ".npz")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
PAIRS = (("train", "test"), ("x_train", "x_test"))
CHANNELS = (1, 2, 3, 4)
DEEP_MODES = ("I", "F")
"""Prefixes of Pillow's modes with more than 8 bits, which it would clip and not rescale."""


def array_file(path: Path) -> Images:
    """Return the images of a `.npy` or `.npz` file.

    Arrays are (N, H, W), (N, H, W, C) or (N, C, H, W) with up to 4 channels: bytes 0..255, floats
    in [0, 1], or booleans. A `.npz` holds `train` and `test`, `x_train` and `x_test`, the first
    of a pair alone, or one array of any name. Where there is no test part, a tenth is held out.

    Raises:
        DataError: if the file is of another kind, corrupt, pickled, or not made of images.
    """
    if path.suffix.lower() not in ARRAY_SUFFIXES:
        raise DataError(
            f"{path}: expected a file named *.npy or *.npz, got '{path.name}'; "
            "pictures and IDX files are loaded by their folder"
        )
    return _assembled(path, [_from_array(array, path) for array in _arrays(path)])


def picture_folder(folder: Path) -> Images:
    """Return the pictures in a folder and its subfolders, in the order of their paths.

    `train/` and `test/` are the split if both are there; otherwise a tenth is held out. Grey
    pictures have one channel, all others three; transparency is dropped, and of an animation the
    first frame is read.

    Raises:
        DataError: if there are none, one cannot be read, or not all have one shape.
    """
    parts = [folder / "train", folder / "test"]
    if not all(part.is_dir() for part in parts):
        parts = [folder]
    return _assembled(folder, [_pictures(part) for part in parts])


def _assembled(path: Path, parts: list[Tensor]) -> Images:
    name = path.resolve().name
    if len(parts) == 1:
        train, test, note = hold_out_tenth(parts[0], name)
    else:
        train, test = parts
        note = f"{len(train)} training and {len(test)} test images, the split of the files."
    return Images(name, train, test, note=note)


def _arrays(path: Path) -> "list[NDArray[Any]]":
    """Return the arrays of images in a file: one, or training and test."""
    numpy = optional("numpy", "a NumPy file")
    try:
        # The file is opened here because numpy leaves it open where the archive is damaged.
        with path.open("rb") as file:
            # Pickles run code when they are read, so they are never allowed.
            loaded = numpy.load(file, allow_pickle=False)
            if isinstance(loaded, numpy.ndarray):
                return [loaded]
            return [_member(loaded, key) for key in _keys(loaded.files, path)]
    except DataError:
        raise
    except Exception as error:  # damaged bytes fail in numpy, zipfile, zlib, tokenize, struct, ...
        raise DataError(
            f"{path}: expected arrays of numbers as numpy.save or numpy.savez writes them, "
            f"got a file that numpy refuses: {error}"
        ) from error


def _member(archive: Any, key: str) -> "NDArray[Any]":
    """Return an array of an archive: numpy itself would return the bytes of what is none."""
    numpy = optional("numpy", "a NumPy file")
    with archive.zip.open(f"{key}.npy") as file:
        array: NDArray[Any] = numpy.lib.format.read_array(file, allow_pickle=False)
        return array


def _keys(names: Sequence[str], path: Path) -> Sequence[str]:
    for pair in PAIRS:
        if pair[0] in names:
            return [key for key in pair if key in names]
    if len(names) == 1:
        return names
    raise DataError(
        f"{path}: expected arrays train and test, x_train and x_test, or a single array, "
        f"got {', '.join(names) or 'no array'}"
    )


def _from_array(array: "NDArray[Any]", path: Path) -> Tensor:
    numpy = optional("numpy", "a NumPy file")
    if array.dtype.kind not in "fb" and array.dtype != numpy.uint8:
        raise DataError(
            f"{path}: expected bytes (uint8), floats in [0, 1] or booleans, got {array.dtype}"
        )
    if array.dtype == numpy.uint8:
        return from_bytes(_channels_first(torch.from_numpy(_full_range(array, path)), path))
    # NumPy converts, because torch refuses some float types and foreign byte orders.
    with numpy.errstate(over="ignore"):  # what is infinite then is refused then
        return _channels_first(torch.from_numpy(array.astype(numpy.float32)), path)


def _full_range(array: "NDArray[Any]", path: Path) -> "NDArray[Any]":
    """Return the bytes; refuse zeros and ones, which 255 would scale to almost black."""
    if array.size and array.max() <= 1:
        raise DataError(
            f"{path}: expected bytes 0..255, got no byte above 1; "
            "if the pixels are binary, save them as booleans: array.astype(bool)"
        )
    return array


def _channels_first(values: Tensor, path: Path) -> Tensor:
    shape = tuple(values.shape)
    if values.ndim == 3:
        return values.unsqueeze(1)
    first, last = (values.ndim == 4 and shape[axis] in CHANNELS for axis in (1, -1))
    if first == last:
        raise DataError(
            f"{path}: expected images (N, H, W), (N, H, W, C) or (N, C, H, W) where C is 1 to 4 "
            f"and H, W are not, got {shape}"
        )
    return values.contiguous() if first else values.permute(0, 3, 1, 2).contiguous()


def _pictures(folder: Path) -> Tensor:
    paths = [path for path in sorted(folder.rglob("*")) if _is_picture(path)]
    if not paths:
        raise DataError(
            f"{folder}: expected pictures ({', '.join(PICTURE_SUFFIXES)}) or IDX files "
            "(train-images-idx3-ubyte, t10k-images-idx3-ubyte), got none"
        )
    pictures = [_picture(path) for path in paths]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            raise DataError(
                f"{path}: expected shape (C, H, W) {tuple(pictures[0].shape)} like {paths[0]}, "
                f"got {tuple(picture.shape)}; crop, resize or convert it"
            )
    return from_bytes(torch.stack(pictures))


def _is_picture(path: Path) -> bool:
    # Names with a leading dot are notes of the file system, whatever their suffix.
    known = path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
    return known and path.is_file()


def _picture(path: Path) -> Tensor:
    """Return one picture as bytes of shape (C, H, W)."""
    library = optional("PIL.Image", "a folder of pictures")
    try:
        with catch_warnings():
            simplefilter("ignore")  # of palettes and broken remarks: the pixels are what counts
            simplefilter("error", library.DecompressionBombWarning)
            with library.open(path) as picture:
                return _pixels(picture, path)
    except DataError:
        raise
    except Exception as error:  # each of Pillow's formats has failures of its own
        raise DataError(f"{path}: expected a whole picture, got an error: {error}") from error


def _pixels(picture: Any, path: Path) -> Tensor:
    if picture.mode.startswith(DEEP_MODES):
        raise DataError(
            f"{path}: expected 8 bits per pixel, got mode {picture.mode}; "
            "rescale it, or save the intensities as a .npy file"
        )
    plain = picture.convert("L" if picture.mode in {"1", "L", "LA", "La"} else "RGB")
    flat = torch.frombuffer(bytearray(plain.tobytes()), dtype=torch.uint8)
    return flat.view(plain.height, plain.width, -1).permute(2, 0, 1)
