"""Images: what each source reads, what each treatment does to pixels, and every refusal."""

import gzip
import hashlib
import math
import re
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from reparam.data import Binarization, DataError, Images, load
from reparam.data.download import CHUNK, fetch, verified
from reparam.data.idx import read_idx
from reparam.data.mnist import SHA256, TEST, TRAIN, mnist
from reparam.data.split import fixed_permutation

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
BINARY = [how for how in get_args(Binarization) if how != "none"]
FALSE_FAIL = 1e-6
PINNED = [402, 993, 40, 1549, 186, 583]


def pixels(*shape: int, seed: int = 0) -> Tensor:
    """Return bytes that cover the whole range, so that nothing mistakes them for binary."""
    return torch.randint(
        256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def idx(values: Tensor, magic: bytes = b"\0\0\x08\x03") -> bytes:
    """Return IDX as the format's definition says, written without the parser's help."""
    return magic + struct.pack(f">{values.ndim}I", *values.shape) + bytes(values.flatten().tolist())


def write_idx(
    folder: Path, train: Tensor, test: Tensor, names: tuple[str, str] = (TRAIN, TEST)
) -> None:
    """Write both files, gzipped where the name says so."""
    for name, values in zip(names, (train, test), strict=True):
        content = idx(values)
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


def write_pictures(
    folder: Path, count: int, size: tuple[int, int] = (5, 4), mode: str = "L"
) -> None:
    """Write PNGs of width and height `size` whose first pixel is their number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new(mode, size, number if mode == "L" else (number, 0, 255)).save(
            folder / f"{number:03}.png"
        )


def grey(value: float, count: int = 80) -> Images:
    """Return images whose every pixel has one intensity."""
    values = torch.full((count, 1, 32, 32), value)
    return Images("grey", values, values.clone(), redraw=True)


@dataclass
class Mirror:
    """What a local server sends, how it fails, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    drops: int = 0
    ranges: bool = True
    url: str = ""
    asked: list[str | None] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Send the file or the range; half of it, under a full length, while drops are left."""
        asked = request.headers["Range"]
        self.asked.append(asked)
        content = self.files.get(request.path[1:])
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if content is None or start >= len(content):
            request.send_error(404 if content is None else 416)
            return
        body = content[start:]
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        drop, self.drops = self.drops > 0, max(0, self.drops - 1)
        request.wfile.write(body[: len(body) // 2] if drop else body)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Serve on 127.0.0.1 for the length of a test, and leave no thread behind."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    state = Mirror()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    before = threading.active_count()
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        yield state
        server.shutdown()
        thread.join()
    assert threading.active_count() == before


CONTENT = idx(pixels(40, 64, 64))
"""About ten chunks, so that half of it survives a dropped connection."""
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def get(folder: Path, *mirrors: str, sha256: str = DIGEST) -> Path:
    """Fetch the generated file."""
    return fetch("some.gz", folder, mirrors=mirrors, sha256=sha256)


def test_images_give_their_shape_and_rows() -> None:
    """The shape is of one image, and a batch is the rows asked for, in their order."""
    images = Images("tiny", torch.rand(5, 3, 4, 6), torch.rand(2, 3, 4, 6))
    assert images.shape == (3, 4, 6)
    batch = images.batch(torch.tensor([4, 0, 4]), generator=None)
    assert torch.equal(batch, images.train[[4, 0, 4]])


def test_a_plain_batch_leaves_the_generator_alone() -> None:
    """Without redrawing nothing is drawn, so that runs with other data keep their noise."""
    images, generator = load("digits"), torch.Generator().manual_seed(1)
    before = generator.get_state()
    images.batch(torch.arange(3), generator)
    assert torch.equal(generator.get_state(), before)


def test_redrawn_batches_follow_the_generator() -> None:
    """One seed gives one batch, the next visit another, and the intensities stay as they were."""
    images, rows = grey(0.5), torch.arange(8)
    first, again = (images.batch(rows, torch.Generator().manual_seed(3)) for _ in range(2))
    generator = torch.Generator().manual_seed(3)
    visits = [images.batch(rows, generator) for _ in range(2)]
    assert torch.equal(first, again)
    assert torch.equal(first, visits[0])
    assert not torch.equal(*visits)
    assert torch.equal(images.train.unique(), torch.tensor([0.5]))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            torch.rand(2, 4, 4),
            r"tiny, training images: expected float32 .*got float32 of shape \(2,",
        ),
        (torch.rand(2, 1, 4, 4).double(), "expected float32 .*got float64"),
        (torch.rand(0, 1, 4, 4), r"at least one image, got float32 of shape \(0, 1, 4, 4\)"),
        (torch.rand(2, 1, 4, 5), r"one shape .*got \(1, 4, 5\) and \(1, 4, 4\); resize"),
        (torch.full((2, 1, 4, 4), torch.nan), r"got 32 NaN and 0 values outside, of 32 .*none"),
        (
            torch.tensor([-1.0, 0.5, torch.nan, 3.0]).view(1, 1, 2, 2),
            r"got 1 NaN and 2 .*\[-1, 3\]",
        ),
        (torch.tensor([0.0, 1.0, 1.0, 1.5]).view(1, 1, 2, 2), r"got 0 NaN and 1 .*\[0, 1.5\]"),
    ],
)
def test_images_refuse_what_is_not_intensities(bad: Tensor, message: str) -> None:
    """Rank, type, emptiness, shape, NaN and range are refused with what came."""
    with pytest.raises(DataError, match=message):
        Images("tiny", bad, torch.rand(2, 1, 4, 4))


def test_the_test_part_is_checked_too() -> None:
    """A NaN that only evaluation would meet is refused at once."""
    with pytest.raises(DataError, match=r"tiny, test images: .*got 1 NaN"):
        Images("tiny", torch.rand(2, 1, 1, 1), torch.full((1, 1, 1, 1), torch.nan))


def test_none_keeps_intensities() -> None:
    """The digits have 17 grey levels from 0 to 1."""
    assert torch.equal(load("digits").train.unique(), torch.arange(17) / 16)


def test_threshold_is_strict() -> None:
    """Exactly 1/2 becomes 0, as 1[x > 1/2] says."""
    plain, cut = load("digits"), load("digits", binarize="threshold")
    assert (plain.train == 0.5).any()
    assert torch.equal(cut.train, (plain.train > 0.5).float())
    assert torch.equal(cut.test, (plain.test > 0.5).float())


def test_static_and_dynamic_share_their_test_pixels() -> None:
    """Both treatments are scored on the same test set, and only one redraws its training set."""
    static, dynamic = (load("digits", binarize=how, seed=5) for how in ("static", "dynamic"))
    assert torch.equal(static.test, dynamic.test)
    assert torch.equal(dynamic.train, load("digits").train)
    assert (static.redraw, dynamic.redraw) == (False, True)


@pytest.mark.parametrize("how", BINARY)
def test_binarized_pixels_are_zeros_and_ones(how: Binarization) -> None:
    """Every pixel a model meets is 0 or 1."""
    images = load("digits", binarize=how)
    for seen in (images.test, images.batch(torch.arange(100), torch.Generator().manual_seed(0))):
        assert torch.equal(seen.unique(), torch.tensor([0.0, 1.0]))


def test_static_pixels_depend_on_the_seed_alone() -> None:
    """The same seed gives the same pixels, another seed others, and torch's own state is spared."""
    state = torch.get_rng_state()
    zero, same, other = (load("digits", binarize="static", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(zero.train, same.train)
    assert not torch.equal(zero.train, other.train)
    assert not torch.equal(zero.test, other.test)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("value", [0.3, 0.9])
def test_drawn_pixels_have_the_intensity_as_their_mean(value: float, tmp_path: Path) -> None:
    """Mean within 0.01: Hoeffding's bound puts a false fail below 1e-6, a mean off by 0.02 too."""
    tolerance, count = 0.01, 80
    assert count * 32 * 32 >= math.log(2 / FALSE_FAIL) / (2 * tolerance**2)
    whole = np.full((count, 32, 32), value, dtype=np.float32)
    np.savez(tmp_path / "grey.npz", train=whole, test=whole)
    static, dynamic = (load(tmp_path / "grey.npz", binarize=how) for how in ("static", "dynamic"))
    redrawn = dynamic.batch(torch.arange(count), torch.Generator().manual_seed(1))
    for drawn in (static.train, static.test, dynamic.test, redrawn):
        assert abs(drawn.mean().item() - value) < tolerance
    assert not torch.equal(static.train, static.test)


def test_certain_pixels_stay() -> None:
    """Black stays black and white stays white, whatever is drawn."""
    plain, drawn = load("digits"), load("digits", binarize="static")
    for certain in (0, 1):
        assert (drawn.train[plain.train == certain] == certain).all()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("none", "intensities"),
        ("threshold", "exceeds 1/2"),
        ("static", "drawn once .* seed 7"),
        ("dynamic", "redrawn .* every visit, .* once with seed 7"),
    ],
)
def test_the_note_tells_treatment_and_split(how: Binarization, words: str) -> None:
    """A report can print the note as it is: one sentence, with the counts."""
    note = load("digits", binarize=how, seed=7).note
    assert re.search(words, note)
    assert note.endswith("; 1497 training and 300 test images, held out by a fixed permutation.")


def test_an_unknown_treatment_lists_the_known() -> None:
    """The choices are in the message, and it comes before anything is read."""
    choices = "expected one of none, threshold, static, dynamic, got 'dynamik'"
    with pytest.raises(ValueError, match=choices):
        load("no such source", binarize="dynamik")  # type: ignore[arg-type]


def test_the_permutation_is_pinned() -> None:
    """A changed order would change every published number, so these digits never change."""
    assert fixed_permutation(1797)[:6].tolist() == PINNED
    assert torch.equal(fixed_permutation(1797).sort().values, torch.arange(1797))


def test_the_digits_are_split_alike_for_every_seed() -> None:
    """1497 and 300 images, of which none is lost or doubled, whatever the seed."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 -- slow

    images = load("digits", seed=3)
    assert (images.train.shape, images.test.shape) == ((1497, 1, 8, 8), (300, 1, 8, 8))
    assert images.train.dtype == torch.float32
    assert torch.equal(images.train, load("digits", seed=4).train)
    ours = torch.cat([images.test, images.train]).squeeze(1)
    whole = torch.from_numpy(load_digits().images).float() / 16
    assert torch.equal(ours, whole[fixed_permutation(1797)])


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
        (idx(pixels(3, 2, 2)) + b"\0", r"expected 12 bytes .*got 13; .*overlong"),
        (idx(pixels(0, 2, 2)), r"at least one image, got dimensions \(0, 2, 2\)"),
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


@pytest.fixture
def small_mnist(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """A mirror with two small files, and the checksums changed to theirs."""
    for stem, count in ((TRAIN, 5), (TEST, 2)):
        content = idx(pixels(count, 28, 28))
        monkeypatch.setitem(SHA256, stem, hashlib.sha256(content).hexdigest())
        mirror.files[f"{stem}.gz"] = gzip.compress(content)
    return mirror


def test_mnist_is_downloaded_once(small_mnist: Mirror, tmp_path: Path) -> None:
    """The first call fetches both files and nothing else stays; the second asks no mirror."""
    first = mnist(tmp_path, [small_mnist.url])
    second = mnist(tmp_path, [])
    assert (len(first.train), len(first.test)) == (5, 2)
    assert torch.equal(first.train, second.train)
    assert len(small_mnist.asked) == 2
    names = sorted(path.name for path in (tmp_path / "mnist").iterdir())
    assert names == [f"{TEST}.gz", f"{TRAIN}.gz"]


def test_a_damaged_cache_is_deleted_and_said(small_mnist: Mirror, tmp_path: Path) -> None:
    """Valid IDX with one changed byte is deleted; loading again then fetches it anew."""
    mnist(tmp_path, [small_mnist.url])
    path = tmp_path / "mnist" / f"{TEST}.gz"
    path.write_bytes(idx(pixels(2, 28, 28, seed=9)))
    with pytest.raises(DataError, match=r"expected content with SHA-256 .*, got .*was deleted"):
        mnist(tmp_path, [])
    assert not path.exists()
    assert len(mnist(tmp_path, [small_mnist.url]).test) == 2


def test_a_file_that_does_not_decompress_is_deleted_and_said(tmp_path: Path) -> None:
    """Half a gzip file under the final name would otherwise fail for ever."""
    path = tmp_path / "half.gz"
    path.write_bytes(gzip.compress(CONTENT)[:-20])
    with pytest.raises(DataError, match=r"whole gzip file, .*it was deleted"):
        verified(path, DIGEST)
    assert not path.exists()


@pytest.mark.parametrize("drops", [0, 1, 3])
def test_a_dropped_download_resumes(drops: int, mirror: Mirror, tmp_path: Path) -> None:
    """After each drop only the rest is asked for, and the file is whole."""
    mirror.files["some.gz"], mirror.drops = CONTENT, drops
    assert get(tmp_path, mirror.url).read_bytes() == CONTENT
    starts = [int(asked[6:-1]) for asked in mirror.asked[1:] if asked]
    assert mirror.asked[0] is None
    assert len(starts) == drops
    assert starts == sorted(set(starts))
    if drops:
        assert len(CONTENT) // 2 - CHUNK <= starts[0] <= len(CONTENT) // 2
    assert [path.name for path in tmp_path.iterdir()] == ["some.gz"]


def test_a_later_call_resumes_an_earlier_one(mirror: Mirror, tmp_path: Path) -> None:
    """What an interrupted program left in the `.part` is not asked for again."""
    mirror.files["some.gz"], mirror.drops, mirror.ranges = CONTENT, 2, False
    with pytest.raises(DataError, match="could not be downloaded"):
        get(tmp_path, mirror.url)
    (part,) = tmp_path.iterdir()
    assert part.suffix == ".part"
    left = part.stat().st_size
    assert 0 < left < len(CONTENT)
    mirror.ranges = True
    assert get(tmp_path, mirror.url).read_bytes() == CONTENT
    assert mirror.asked[-1] == f"bytes={left}-"


def test_a_server_without_ranges_starts_anew(mirror: Mirror, tmp_path: Path) -> None:
    """A whole file sent in answer to a range replaces the half, instead of following it."""
    mirror.files["some.gz"], mirror.drops, mirror.ranges = CONTENT, 1, False
    assert get(tmp_path, mirror.url).read_bytes() == CONTENT
    assert len(mirror.asked) == 2


def test_a_complete_part_needs_no_byte(mirror: Mirror, tmp_path: Path) -> None:
    """A program stopped between the last byte and the renaming goes on from there."""
    mirror.files["some.gz"], mirror.drops, mirror.ranges = CONTENT, 2, False
    with pytest.raises(DataError):
        get(tmp_path, mirror.url)
    (part,) = tmp_path.iterdir()
    part.write_bytes(CONTENT)
    mirror.ranges = True
    assert get(tmp_path, mirror.url).read_bytes() == CONTENT
    assert not part.exists()


def test_a_wrong_file_is_deleted_and_the_next_mirror_asked(mirror: Mirror, tmp_path: Path) -> None:
    """A mirror with other content costs one attempt; with no other mirror it is an error."""
    mirror.files["old/some.gz"], mirror.files["some.gz"] = idx(pixels(1, 2, 2)), CONTENT
    with pytest.raises(DataError, match=r"old/ .*expected content with SHA-256 .*was deleted"):
        get(tmp_path, mirror.url + "old/")
    assert list(tmp_path.iterdir()) == []
    assert get(tmp_path, mirror.url + "old/", mirror.url).read_bytes() == CONTENT


def test_mirrors_are_tried_in_turn(mirror: Mirror, tmp_path: Path) -> None:
    """A mirror that lacks the file is passed over, and named with its status if all fail."""
    mirror.files["some.gz"] = CONTENT
    assert get(tmp_path, mirror.url + "gone/", mirror.url).read_bytes() == CONTENT
    with pytest.raises(DataError, match=r"gone/ HTTP 404; .*lost/ HTTP 404"):
        get(tmp_path, mirror.url + "gone/", mirror.url + "lost/")


def test_offline_is_one_line_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network the message says how to use files fetched elsewhere."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with pytest.raises(DataError, match=r"ConnectionError.*offline.*folder") as refusal:
            mnist(tmp_path, [url])
    assert "\n" not in str(refusal.value)


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


@pytest.mark.parametrize(
    ("source", "end"), [("mnits", "; did you mean 'mnist'?"), ("DIGITS", "'digits'?"), ("x", "'x'")]
)
def test_an_unknown_name_says_what_is_accepted(source: str, end: str) -> None:
    """The names, the kinds of path, what came, and the nearest name if one is near."""
    start = "expected digits, mnist, or a path to a .npy or .npz file, a folder of IDX files"
    with pytest.raises(FileNotFoundError) as refusal:
        load(source)
    assert str(refusal.value).startswith(start)
    assert f"got '{source}'" in str(refusal.value)
    assert str(refusal.value).endswith(end)


def test_a_near_path_is_offered(tmp_path: Path) -> None:
    """A slip in the name of a file is met with the file beside it."""
    (tmp_path / "faces.npy").touch()
    with pytest.raises(FileNotFoundError, match=r"did you mean '.*faces.npy'\?"):
        load(tmp_path / "face.npy")


def test_a_path_object_is_never_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder called mnist is reached by a Path, and nothing is downloaded."""
    (tmp_path / "mnist").mkdir()
    write_idx(tmp_path / "mnist", pixels(3, 2, 2), pixels(2, 2, 2))
    monkeypatch.chdir(tmp_path)
    assert load(Path("mnist")).shape == (1, 2, 2)


@pytest.mark.parametrize(
    ("module", "source"), [("sklearn.datasets", "digits"), ("pooch", "mnist"), ("numpy", "a.npy")]
)
def test_a_missing_package_says_what_to_install(
    module: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra to install is in the message, not only the name of a module."""
    (tmp_path / "a.npy").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs {module}, .*pip install 'reparam\[train\]'"):
        load(source)


def test_importing_brings_torch_and_nothing_heavier() -> None:
    """The packages that only some sources need are not imported before they are needed."""
    heavy = ["sklearn", "PIL", "pooch", "requests", "scipy"]
    code = (
        f"import sys; sys.path[:] = {sys.path}; import torch; before = set(sys.modules); "
        "import reparam.data; "
        f"print([name for name in {[*heavy, 'numpy']} if name in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"
