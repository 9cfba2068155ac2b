"""Files of images: IDX, arrays and pictures, each read exactly or refused in words."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data_cases import CONTENT, REAL, idx, pixels, write_idx, write_pictures
from reparam.data import DataError, load
from reparam.data.idx import read_idx
from reparam.data.mnist import TEST, TRAIN, mnist
from reparam.data.split import fixed_permutation


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["bare", "gzip"])
def test_idx_comes_back_as_written(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """Order, shape and all 256 values survive, whether or not the file is gzipped."""
    values = torch.arange(256, dtype=torch.uint8).view(2, 8, 16)
    (tmp_path / "file").write_bytes(pack(idx(values)))
    assert torch.equal(read_idx(tmp_path / "file"), values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "file: expected IDX, .*00 00 08 03, got an empty file"),
        (b"\0\0\x08", "expected IDX, .*got 00 00 08$"),
        (b"\x89PNG" + bytes(30), "expected IDX, .*got 89 50 4e 47"),
        (idx(pixels(1, 2, 2), magic=b"\0\0\x0d\x03"), r"type byte 0x08 .*got 0x0d; convert"),
        (idx(pixels(9), magic=b"\0\0\x08\x01"), r"expected 3 dimensions .*got 1; is it .*labels"),
        (idx(pixels(1, 1, 2, 2), magic=b"\0\0\x08\x04"), r"expected 3 dimensions .*, got 4$"),
        (idx(pixels(1, 2, 2))[:9], "header of 16 bytes, got 9; .*truncated"),
        (idx(pixels(3, 2, 2))[:-1], r"expected 12 bytes .*\(3, 2, 2\), got 11; .*truncated"),
        (idx(pixels(3, 2, 2)) + b"\0", r"expected 12 bytes .*got more; .*overlong"),
        (idx(pixels(0, 2, 2)), r"at least one example, got dimensions \(0, 2, 2\)"),
        (idx(pixels(1, 2, 2))[:4] + b"\xff" * 12, r"\(4294967295, .*got 0; .*truncated"),
        (gzip.compress(CONTENT)[:-9], r"expected a whole gzip file, got \d+ bytes .*fetch"),
        (gzip.compress(CONTENT)[:-8] + bytes(8), r"whole gzip file.*CRC"),
        (b"\x1f\x8b" + bytes(40), "whole gzip file, got 42 bytes"),
        (b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 9, r"whole gzip file.*invalid block type"),
    ],
)
def test_unusable_idx_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    """Each fault is named, with the file, what was expected and what came."""
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=message) as refusal:
        read_idx(tmp_path / "file")
    assert str(refusal.value).startswith(str(tmp_path / "file"))


@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_folder_of_idx_files_is_read(separator: str, suffix: str, tmp_path: Path) -> None:
    """Either spelling, gzipped or not, of any height and width; 255 becomes exactly 1."""
    train, test = pixels(6, 3, 5), pixels(2, 3, 5, seed=1)
    names = (
        f"train-images{separator}idx3-ubyte{suffix}",
        f"t10k-images{separator}idx3-ubyte{suffix}",
    )
    write_idx(tmp_path, train, test, names)
    images = load(tmp_path)
    assert torch.equal(images.train, train.unsqueeze(1) / 255)
    assert torch.equal(images.test, test.unsqueeze(1) / 255)
    assert images.name == tmp_path.name
    assert "6 training and 2 test images, the split of the files." in images.note


def test_a_folder_that_lacks_an_idx_file_says_which(tmp_path: Path) -> None:
    """The missing name and the names that are there are both in the message."""
    (tmp_path / TRAIN).write_bytes(idx(pixels(2, 2, 2)))
    with pytest.raises(
        DataError, match=rf"expected an IDX file named {TEST} .*got {TRAIN}; rename"
    ):
        load(tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real MNIST is not at {REAL}")
def test_the_real_mnist_passes_its_checksums(tmp_path: Path) -> None:
    """The published files, found in the cache, give 60000 and 10000 images without a mirror."""
    (tmp_path / "mnist").mkdir()
    for stem in (TRAIN, TEST):
        (tmp_path / "mnist" / f"{stem}.gz").symlink_to(REAL / f"{stem}.gz")
    images = mnist(tmp_path, mirrors=())
    assert (images.train.shape, images.test.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    assert images.train.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert (images.train.min(), images.train.max()) == (0, 1)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real MNIST is not at {REAL}")
def test_the_real_labels_are_not_images() -> None:
    """Handing over the file of labels is the likely mistake, and the message asks about it."""
    with pytest.raises(DataError, match="got 1; is it the file of labels"):
        read_idx(REAL / "t10k-labels-idx1-ubyte.gz")


@pytest.mark.parametrize(
    ("shape", "shown"),
    [((20, 5, 6), (1, 5, 6)), ((20, 5, 6, 3), (3, 5, 6)), ((20, 3, 5, 6), (3, 5, 6))],
)
def test_an_array_is_read_in_any_layout(
    shape: tuple[int, ...], shown: tuple[int, ...], tmp_path: Path
) -> None:
    """Grey, channels last and channels first give the same pixels, channels first."""
    bytes_ = pixels(*shape)
    np.save(tmp_path / "own.npy", bytes_.numpy())
    images = load(tmp_path / "own.npy")
    expected = bytes_.view(20, -1, 5, 6) if shape[1:] != (5, 6, 3) else bytes_.movedim(-1, 1)
    order = fixed_permutation(20)
    assert images.shape == shown
    assert torch.equal(images.test, expected[order[:2]] / 255)
    assert torch.equal(images.train, expected[order[2:]] / 255)
    assert images.note.endswith("; 18 training and 2 test images, held out by a fixed permutation.")


@pytest.mark.parametrize("kind", ["float16", "float32", ">f8", "bool"])
def test_floats_and_booleans_are_not_scaled(kind: str, tmp_path: Path) -> None:
    """Every float type and byte order is taken as intensities, booleans as black and white."""
    whole = (pixels(4, 3, 3).numpy() > 99).astype(kind)
    np.savez(tmp_path / "own.npz", x_train=whole[:3], x_test=whole[3:], y_train=np.arange(3))
    images = load(str(tmp_path / "own.npz"))
    assert torch.equal(images.train, torch.from_numpy(whole[:3].astype("float32")).unsqueeze(1))
    assert (images.name, len(images.test)) == ("own.npz", 1)


@pytest.mark.parametrize("names", [("train", "test"), ("x_train", "x_test"), ("faces",)])
def test_an_archive_is_read_by_its_names(names: tuple[str, ...], tmp_path: Path) -> None:
    """Both usual pairs are the split; a single array of any name is split."""
    np.savez(tmp_path / "own.npz", **dict.fromkeys(names, pixels(30, 4, 4).numpy()))
    images = load(tmp_path / "own.npz")
    assert (len(images.train), len(images.test)) == ((30, 30) if len(names) == 2 else (27, 3))


def damaged(path: Path) -> None:
    """Write an archive and change one byte of its compressed pixels."""
    np.savez_compressed(path, train=pixels(20, 9, 9).numpy())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.npy", lambda p: np.save(p, np.array([{}]), allow_pickle=True), "allow_pickle=False"),
        ("a.npy", lambda p: p.write_bytes(b""), "got a file that numpy refuses: No data left"),
        ("a.npy", lambda p: p.write_bytes(b"no array"), "a file that numpy refuses"),
        ("a.npz", damaged, "a file that numpy refuses"),
        ("a.npz", lambda p: p.write_bytes(b"PK\x03\x04 no zip"), "a file that numpy refuses"),
        ("a.npz", lambda p: np.savez(p, a=1, b=2), "train and test, x_train .*got a, b"),
        ("a.npz", np.savez, "a single array, got no array"),
        ("a.npy", lambda p: np.save(p, np.ones((4, 2, 2), int)), r"expected bytes .*got int64"),
        ("a.npy", lambda p: np.save(p, np.ones((4, 2, 2), "u1")), r"no byte above 1; .*astype"),
        ("a.npy", lambda p: np.save(p, np.ones((4, 2))), r"expected images .*got \(4, 2\)"),
        ("a.npy", lambda p: np.save(p, np.ones((9, 8, 8, 5))), r"images .*got \(9, 8, 8, 5\)"),
        ("a.npy", lambda p: np.save(p, np.ones((9, 3, 8, 3))), r"images .*got \(9, 3, 8, 3\)"),
        ("a.npy", lambda p: np.save(p, np.ones(())), r"images .*got \(\)"),
        ("a.npy", lambda p: np.save(p, np.ones((1, 8, 8))), "a.npy: .*at least 2 images.*got 1"),
        ("a.npy", lambda p: np.save(p, np.ones((0, 8, 8))), "a.npy: .*at least 2 images.*got 0"),
        ("a.npy", lambda p: np.save(p, np.full((2, 2, 2), np.nan)), "a.npy, .*got 4 NaN"),
        ("a.npy", lambda p: np.save(p, np.full((2, 2, 2), 255.0)), r"got 0 NaN and 4 .*\[255"),
        ("a.txt", lambda p: p.write_text("x"), r"a file named \*.npy or \*.npz, got 'a.txt'"),
    ],
)
def test_unusable_arrays_are_refused(
    name: str, write: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    """Pickles, damage, wrong names, types, ranges and shapes are each refused in words."""
    write(tmp_path / name)
    with pytest.raises(DataError, match=message) as refusal:
        load(tmp_path / name)
    assert name in str(refusal.value)


def test_a_folder_of_pictures_is_split(tmp_path: Path) -> None:
    """Subfolders count, notes of the file system do not, and the order is that of the paths."""
    write_pictures(tmp_path / "b", 12)
    write_pictures(tmp_path / "a" / "deep", 8)
    (tmp_path / "a" / "._001.png").write_bytes(b"no picture")
    (tmp_path / "a" / "list.txt").write_text("no picture")
    images = load(tmp_path)
    numbers = torch.tensor([*range(8), *range(12)])[fixed_permutation(20)]
    assert images.shape == (1, 4, 5)
    assert torch.equal(images.test[:, 0, 0, 0], numbers[:2] / 255)
    assert torch.equal(images.train[:, 0, 3, 4], numbers[2:] / 255)


def test_subfolders_named_train_and_test_are_the_split(tmp_path: Path) -> None:
    """Colour comes channels first, and the test part stays apart."""
    write_pictures(tmp_path / "train", 4, mode="RGB")
    write_pictures(tmp_path / "test", 3, mode="RGB")
    images = load(tmp_path)
    assert (len(images.train), len(images.test), images.shape) == (4, 3, (3, 4, 5))
    assert torch.equal(images.train[2, :, 1, 1], torch.tensor([2 / 255, 0, 1]))
    assert images.note.endswith("the split of the files.")


def test_a_train_folder_alone_is_pictures_like_others(tmp_path: Path) -> None:
    """Without a test folder beside it nothing is left out, and a tenth is held out."""
    write_pictures(tmp_path / "train", 9)
    write_pictures(tmp_path / "more", 11)
    images = load(tmp_path)
    assert (len(images.train), len(images.test)) == (18, 2)


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "gif", "webp"])
def test_every_usual_format_is_read(suffix: str, tmp_path: Path) -> None:
    """White is white in each format, also in those that lose a little."""
    for number in range(2):
        Image.new("RGB", (8, 8), "white").save(tmp_path / f"{number}.{suffix}")
    assert load(tmp_path).train.min() == 1


def test_bits_and_transparency_are_made_plain(tmp_path: Path) -> None:
    """One-bit and grey-with-alpha pictures both become one channel of 0 to 1."""
    Image.new("1", (3, 3), 1).save(tmp_path / "bit.png")
    Image.new("LA", (3, 3), (255, 9)).save(tmp_path / "alpha.png")
    images = load(tmp_path)
    assert images.shape == (1, 3, 3)
    assert images.train.min() == images.test.min() == 1


def deep(folder: Path) -> None:
    """Write a picture of 16 bits per pixel."""
    Image.new("I;16", (2, 2), 40000).save(folder / "odd.png")


def half(folder: Path) -> None:
    """Write the first half of a picture."""
    source = folder / "odd.png"
    Image.fromarray(pixels(50, 50).numpy()).save(source)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda f: Image.new("L", (6, 4)).save(f / "odd.png"),
            r"\(1, 4, 5\) like .*000.png, got \(1, 4, 6",
        ),
        (lambda f: Image.new("RGB", (5, 4)).save(f / "odd.png"), r"got \(3, 4, 5\); crop"),
        (lambda f: (f / "odd.png").write_bytes(b"no picture"), "a whole picture, got an error"),
        (half, "a whole picture, got an error"),
        (deep, "expected 8 bits per pixel, got mode I;16; rescale"),
    ],
)
def test_the_odd_picture_is_named(
    write: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    """Another size, another kind, damage and 16 bits are refused, naming the one file."""
    write_pictures(tmp_path, 3)
    write(tmp_path)
    with pytest.raises(DataError, match=message) as refusal:
        load(tmp_path)
    assert str(refusal.value).startswith(str(tmp_path / "odd.png"))


def test_an_empty_folder_says_what_it_could_hold(tmp_path: Path) -> None:
    """Both kinds of folder are in the message."""
    with pytest.raises(DataError, match=r"expected pictures \(.png, .*\) or IDX files .*got none"):
        load(tmp_path)
