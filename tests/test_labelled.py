"""Images with labels: pairs stay together, and a set without its labels is refused in words."""

import gzip
import hashlib
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from data_cases import REAL, idx, pixels
from reparam.data import DataError
from reparam.data.idx import LABELS, read_idx
from reparam.data.labelled import LabelledImages, load_labelled
from reparam.data.mnist import SHA256, TEST, TEST_LABELS, TRAIN, TRAIN_LABELS, mnist_labels
from reparam.data.split import fixed_permutation


def labels(count: int) -> torch.Tensor:
    """0, 3, 6, ... modulo 10, as bytes."""
    return (torch.arange(count) * 3 % 10).byte()


def folder(path: Path, **changed: torch.Tensor) -> Path:
    """The four files of a set of 6 and 4; None leaves one out."""
    parts = {TRAIN: pixels(6, 3, 5), TEST: pixels(4, 3, 5, seed=1)}
    parts |= {TRAIN_LABELS: labels(6), TEST_LABELS: labels(4)}
    for stem, values in (parts | changed).items():
        if values is not None:
            magic = b"\0\0\x08\x01" if values.ndim == 1 else b"\0\0\x08\x03"
            (path / f"{stem}.gz").write_bytes(gzip.compress(idx(values, magic)))
    return path


def test_a_folder_of_idx_files_gives_images_with_their_labels(tmp_path: Path) -> None:
    """Both parts, in the order of the files; intensities as everywhere, labels as integers."""
    data = load_labelled(folder(tmp_path))
    assert torch.equal(data.train[0], pixels(6, 3, 5).unsqueeze(1) / 255)
    assert torch.equal(data.test[0], pixels(4, 3, 5, seed=1).unsqueeze(1) / 255)
    assert data.train[1].tolist() == [0, 3, 6, 9, 2, 5]
    assert data.test[1].tolist() == [0, 3, 6, 9]
    assert (data.name, data.shape, data.classes) == (tmp_path.name, (1, 3, 5), 10)
    assert data.note == "6 training and 4 test images, the split of the files."


def test_a_batch_is_the_rows_of_both(tmp_path: Path) -> None:
    """In the order asked for, whatever the key."""
    data = load_labelled(str(folder(tmp_path)))
    images, found = data.batch(torch.tensor([4, 0, 4]), 1)
    assert torch.equal(images, data.train[0][[4, 0, 4]])
    assert found.tolist() == [2, 0, 2]


def test_the_digits_keep_their_labels() -> None:
    """Each is that of its scan, through the permutation that holds some out."""
    data, scans = load_labelled("digits"), load_digits()
    order = fixed_permutation(1797)
    for (images, found), rows in ((data.train, order[300:]), (data.test, order[:300])):
        assert torch.equal(images, torch.from_numpy(scans.images)[rows].float().unsqueeze(1) / 16)
        assert torch.equal(found, torch.from_numpy(scans.target)[rows])
    assert (data.name, data.classes) == ("digits", 10)


def test_classes_are_counted_in_both_parts() -> None:
    """The largest label may be in either."""
    few, more = ((torch.rand(2, 1, 2, 2), torch.tensor([0, top])) for top in (3, 7))
    assert LabelledImages("tiny", few, more).classes == LabelledImages("tiny", more, few).classes
    assert LabelledImages("tiny", few, few).classes == 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({TRAIN_LABELS: None}, f"an IDX file named {TRAIN_LABELS} or .*got .*; rename or add"),
        ({TEST_LABELS: None}, f"an IDX file named {TEST_LABELS} or .*got .*; rename or add"),
        ({TEST: None}, f"an IDX file named {TEST} or .*; rename or add"),
        ({TRAIN_LABELS: labels(5)}, r"each of 6 training images, got int64 of shape \(5,\); are"),
        ({TEST_LABELS: labels(5)}, r"each of 4 test images, got int64 of shape \(5,\); are both"),
        ({TEST_LABELS: labels(0)}, r"at least one example, got dimensions \(0,\)"),
        ({TRAIN_LABELS: pixels(6, 2, 2)}, r"00 00 08 01|1 dimension .*got 3; .*file of images\?"),
    ],
)
def test_a_folder_without_fitting_labels_is_refused(
    changed: dict[str, torch.Tensor], message: str, tmp_path: Path
) -> None:
    """A missing file, another count, or a file of images in place of labels: one line says so."""
    with pytest.raises(DataError, match=message) as refusal:
        load_labelled(folder(tmp_path, **changed))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.tensor([0.0, 1.0]), r"an int64 label for each of 2 test .*got float32 of shape \("),
        (torch.tensor([[0, 1], [1, 0]]), r"got int64 of shape \(2, 2\)"),
        (torch.tensor([0, -1]), "test labels from 0, got -1"),
    ],
)
def test_labels_that_are_no_classes_are_refused(bad: torch.Tensor, message: str) -> None:
    """Their type, their shape and their range."""
    images = torch.rand(2, 1, 2, 2)
    with pytest.raises(DataError, match=f"tiny: expected .*{message}"):
        LabelledImages("tiny", (images, torch.tensor([0, 1])), (images, bad))


@pytest.mark.parametrize("source", ["nowhere", ".", "file.npy"])
def test_a_source_without_labels_is_refused(source: str, tmp_path: Path, monkeypatch) -> None:
    """A name that is none, a folder without IDX files, a file of images alone."""
    monkeypatch.chdir(tmp_path)
    Path("file.npy").touch()
    with pytest.raises(FileNotFoundError, match=f"expected digits, mnist, or .*, got '{source}'"):
        load_labelled(source)


def test_idx_labels_are_read_exactly(tmp_path: Path) -> None:
    """All 256 values; a cut is noticed."""
    values = torch.arange(256, dtype=torch.uint8)
    content = idx(values, b"\0\0\x08\x01")
    (tmp_path / "file").write_bytes(content)
    assert torch.equal(read_idx(tmp_path / "file", LABELS), values)
    (tmp_path / "file").write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"expected 256 bytes .*\(256,\), got 255; .*truncated"):
        read_idx(tmp_path / "file", LABELS)
    (tmp_path / "file").write_bytes(content[:7])
    with pytest.raises(DataError, match="header of 8 bytes, got 7"):
        read_idx(tmp_path / "file", LABELS)


def test_published_labels_are_checked_each_by_its_own_sum(tmp_path: Path, monkeypatch) -> None:
    """Tiny files in the place of MNIST's: the training labels first, and no mirror is asked."""
    stems = {TRAIN_LABELS: labels(6), TEST_LABELS: labels(4)}
    (tmp_path / "mnist").mkdir()
    for stem, values in stems.items():
        content = idx(values, b"\0\0\x08\x01")
        (tmp_path / "mnist" / stem).write_bytes(content)
        monkeypatch.setitem(SHA256, stem, hashlib.sha256(content).hexdigest())
    train, test = mnist_labels(tmp_path, mirrors=())
    assert (train.tolist(), test.tolist()) == ([0, 3, 6, 9, 2, 5], [0, 3, 6, 9])
    monkeypatch.setitem(SHA256, TEST_LABELS, SHA256[TRAIN_LABELS])
    with pytest.raises(DataError, match=f"{TEST_LABELS}: expected content with SHA-256"):
        mnist_labels(tmp_path, mirrors=())


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real MNIST is not at {REAL}")
def test_the_real_labels_pass_their_checksums(tmp_path: Path) -> None:
    """The published files, found in the cache, with their known first labels and counts."""
    (tmp_path / "mnist").symlink_to(REAL)
    train, test = mnist_labels(tmp_path, mirrors=())
    assert (train.shape, test.shape) == ((60000,), (10000,))
    assert train[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    data = load_labelled("mnist", cache=tmp_path)
    assert (data.shape, data.classes) == ((1, 28, 28), 10)
    assert torch.equal(data.train[1], train.long())
