"""Damaged files and senseless commands: one line that says what is wrong, never a traceback."""

import errno
import gzip
import io
import math
import os
import shutil
import signal
import tracemalloc
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data_cases import idx, pixels
from reparam.data import DataError, load
from reparam.data.idx import read_idx
from reparam.diagnostics.doctor import examine
from reparam.recipes import MODELS
from reparam.training.folder import RunError, RunFolder
from tiny_runs import options, reparam, write_images

try:
    import resource
except ImportError:  # not on Windows
    resource = None

# Examples come from a fixed seed, so that a run is repeated by running it again.
repeated = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def saved(save, *values, **options):
    """The bytes that a function writes to a file."""
    file = io.BytesIO()
    save(file, *values, **options)
    return file.getvalue()


ARRAY = pixels(4, 3, 3).numpy()
FILES = {
    "idx": idx(pixels(4, 3, 3)),
    "idx.gz": gzip.compress(idx(pixels(4, 3, 3)), mtime=0),
    "npy": saved(np.save, ARRAY),
    "npz": saved(np.savez, train=ARRAY, test=ARRAY),
    "png": saved(lambda f: Image.fromarray(ARRAY[0]).save(f, "png")),
}
"""A good file of each kind."""


@st.composite
def damaged(draw):
    """A kind, and a file of it with bytes changed, cut off, put in or doubled."""
    kind = draw(st.sampled_from(sorted(FILES)))
    content = bytearray(FILES[kind])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        what = draw(st.sampled_from(["change", "cut", "insert", "double"]))
        if what == "change" and content:
            content[at] = draw(st.integers(0, 255))
        elif what == "cut":
            del content[at:]
        elif what == "insert":
            content[at:at] = draw(st.binary(min_size=1, max_size=9))
        else:
            content += content[at:]
    return kind, bytes(content)


def images(kind, folder):
    """The images of the damaged file, as its kind is read."""
    path = folder / f"file.{kind}"
    if kind.startswith("idx"):
        return read_idx(path)
    return load(str(folder if kind == "png" else path)).train


@given(damaged())
@repeated
def test_a_damaged_file_is_read_or_refused(tmp_path, file):
    """Nothing but a DataError that begins with the file's name; and what is read, is images."""
    kind, content = file
    path = tmp_path / f"file.{kind}"
    for old in tmp_path.iterdir():
        old.unlink()
    path.write_bytes(content)
    if kind == "png":
        (tmp_path / "other.png").write_bytes(FILES["png"])
    try:
        found = images(kind, tmp_path)
    except DataError as refusal:
        said = str(refusal)
    else:
        said = f"{tmp_path}: as expected" if found.numel() else "nothing"
    assert said.startswith(str(tmp_path))
    assert "expected" in said


WORDS = st.sampled_from([
    *MODELS, "train", "list", "compare", "doctor", "rloo", "score", "gumbel-softmax:tau=-1",
    "gumbel-softmax:tau=", "rebar:", "nonsense", "--problem", "categorical8", "nowhere.py:f",
    "--n", "0", "1,,2", "-3", "--trials", "x", "--jobs", "--seed", "1e99", "--out", "/dev/null/x",
    "/proc/none", "--data", "digits", "no-such-file.npz", "--epochs", "--batch", "nan", "inf",
    "--lr", "--estimator", "--tau", "exponential:start=", "--resume", "--check", "a:b", "--json",
    "--only", "--classes", "--latents", "", "\x00", "é", "--", "-", "=", "--=",
])  # fmt: skip


@given(st.lists(WORDS, min_size=1, max_size=6))
@repeated
def test_a_senseless_command_is_refused_in_one_line(tmp_path, words):
    """Exit status 2 or 1, and one line; or what was asked for. Nothing is trained."""
    os.chdir(tmp_path)
    with (
        mock.patch("reparam.training.run.run", side_effect=RuntimeError("would train")),
        mock.patch("reparam.diagnostics.compare.compare", side_effect=RuntimeError("would run")),
    ):
        outcome = reparam(*words)
    assert outcome.status in (0, 1, 2)
    if outcome.err:
        assert outcome.err.startswith("reparam: ")
        assert outcome.err.count("\n") == 1
        assert "Traceback" not in outcome.err
        assert "unexpected" not in outcome.err


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("method", ["record", "save", "create"])
def test_a_full_disk_ends_the_run_in_one_line(method, tmp_path):
    """Whatever was being written; exit status 1, or 2 before anything was trained."""
    command = ["train", "discrete-vae", "--data", "digits", "--epochs", 1, "--out", tmp_path / "r"]
    with mock.patch.object(RunFolder, method, side_effect=FULL):
        outcome = reparam(*command)
    assert outcome.status == (2 if method == "create" else 1)
    assert outcome.err.startswith("reparam: ")
    assert "No space left on device" in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_checkpoint_that_does_not_fit_leaves_the_old_one(tmp_path):
    """The real error of a real device, where the new file would lie."""
    folder = RunFolder(tmp_path)
    folder.save({"step": 1})
    (tmp_path / "checkpoint.pt.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"):
        folder.save({"step": 2})
    assert folder.load("cpu")["step"] == 1
    assert not folder.checkpoint.with_name("checkpoint.pt.part").is_symlink()


@pytest.mark.skipif(resource is None, reason="needs limits on the size of files")
def test_a_checkpoint_cut_short_by_the_disk_says_so(tmp_path):
    """Not what torch's writer makes of it; and the old checkpoint stays, and what was written not.

    Half a file fits here, as on a disk that is nearly full.
    """
    folder = RunFolder(tmp_path)
    folder.save({"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            folder.save({"step": 2, "tensor": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert folder.load("cpu")["step"] == 1
    assert list(tmp_path.iterdir()) == [folder.checkpoint]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of which every test damages a copy, and the command that made it."""
    place = tmp_path_factory.mktemp("fuzz")
    command = options("vae", data=write_images(place / "tiny.npy"), epochs=1, iw_samples=1)
    assert reparam(*command, "--out", place / "run").status == 0
    return place / "run", command


def resumed(run, folder):
    """What the program says of a copy, with one line of it if it fails."""
    outcome = reparam(*run[1], "--out", folder, "--resume")
    assert outcome.err.count("\n") == (outcome.status != 0)
    assert "unexpected" not in outcome.err
    return outcome


@pytest.mark.parametrize(
    "change",
    [
        lambda state: torch.ones(3),
        lambda state: [1],
        lambda state: None,
        lambda state: {},
        *(lambda state, v=v: {**state, "step": v} for v in (-1, 10**9, math.inf, math.nan, "x")),
        *(
            lambda state, k=k: {**state, k: torch.ones(2)}
            for k in ("task", "optimizer", "averages")
        ),
        *(lambda state, k=k: {**state, k: {}} for k in ("task", "optimizer", "averages")),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(change, run, tmp_path):
    """By its name, whatever it holds; nothing is changed."""
    folder = RunFolder(Path(shutil.copytree(run[0], tmp_path / "run")))
    folder.save(change(folder.load("cpu")))
    metrics = folder.metrics.read_bytes()
    outcome = resumed(run, folder.path)
    assert outcome.status == 1
    assert f"{folder.checkpoint}: expected a checkpoint" in outcome.err
    assert folder.metrics.read_bytes() == metrics


@pytest.mark.parametrize(
    ("file", "content", "status"),
    [
        ("metrics.jsonl", b"\xff\xfe\n", 1),
        ("metrics.jsonl", b"[1]\n", 1),
        ("metrics.jsonl", b'{"step": 1}\n', 1),
        ("metrics.jsonl", b'{"step": Infinity, "split": "train"}\n', 1),
        (
            "metrics.jsonl",
            b'{"step": 1, "split": "train"}\n{"st\n{"step": 2, "split": "train"}\n',
            1,
        ),
        ("metrics.jsonl", b"[" * 50_000 + b"\n", 1),
        ("metrics.jsonl", b'{"step": 1, "split": "train"}\n\n{"step": 2, "spl', 0),
        ("metrics.jsonl", b'{"step": 1, "split": "vitals", "kl": "x"}\n', 0),
        ("config.json", b"\xff", 2),
        ("config.json", b"[" * 50_000, 2),
        ("config.json", b'{"model": ["vae"]}', 2),
    ],
)
def test_a_damaged_run_folder_is_refused_or_resumed(file, content, status, run, tmp_path):
    """A last line cut short and blank ones are left out; anything else is for a person to mend."""
    folder = RunFolder(Path(shutil.copytree(run[0], tmp_path / "run")))
    (folder.path / file).write_bytes(content)
    outcome = resumed(run, folder.path)
    assert outcome.status == status
    assert not status or (str(folder.path / file) in outcome.err and "expected" in outcome.err)
    assert status == 0 or (folder.path / file).read_bytes() == content


LOGS = {
    "jsonl": b'{"step": 1, "kl": 0.5}\n{"step": 2, "kl": 1e3, "split": "failure"}\n{"step": 30}\n',
    "csv": b"step,train/kl,relaxed,bound\n1,0.5,2,1\n2,nan,,\n",
}

ODD = [b"Infinity", b"NaN", b"1e999", b"9" * 400, b"null", b"[1]", b'"x"', b"\0", b"\n", b""]


@st.composite
def logs(draw):
    """The kind of a log, and a damaged one with words put in that mean something to its readers."""
    kind = draw(st.sampled_from(sorted(LOGS)))
    content = bytearray(LOGS[kind])
    for _ in range(draw(st.integers(1, 3))):
        at, end = sorted(draw(st.integers(0, len(content))) for _ in range(2))
        content[at : draw(st.sampled_from([at, end]))] = draw(st.sampled_from(ODD))
    return kind, bytes(content)


@given(logs())
@repeated
def test_a_damaged_log_is_judged_or_refused(tmp_path, log):
    """Nothing but a ValueError that names the file."""
    kind, content = log
    path = tmp_path / f"metrics.{kind}"
    path.write_bytes(content)
    try:
        examine(path)
    except ValueError as refusal:
        assert str(path) in str(refusal)  # noqa: PT017 (or nothing is raised)
        assert "expected" in str(refusal)  # noqa: PT017


def test_a_long_field_of_csv_is_refused(tmp_path):
    """Python's reader has a limit, with an error of its own."""
    path = tmp_path / "metrics.csv"
    path.write_text(f"step,kl\n1,{'x' * 200_000}\n")
    with pytest.raises(ValueError, match=f"expected CSV, got {path}: field larger"):
        examine(path)


def test_a_bomb_is_not_unpacked(tmp_path):
    """A file says how much it holds; what decompresses to more takes no more memory than that."""
    zeros = bytes(50_000_000)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(FILES["idx"] + zeros))
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.npy", zeros)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"expected 36 bytes .*, got more; .*overlong"):
            read_idx(tmp_path / "bomb.gz")
        with pytest.raises(DataError, match="numpy refuses: the magic string is not correct"):
            load(tmp_path / "bomb.npz")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_what_numpy_and_pillow_warn_of_is_refused_or_right(tmp_path):
    """In one line of the library's, for here a warning is an error."""
    np.save(tmp_path / "huge.npy", np.full((4, 3, 3), 1e300))
    with pytest.raises(DataError, match="got 0 NaN and 27 values outside"):
        load(tmp_path / "huge.npy")
    for number in range(4):
        picture = Image.new("P", (3, 3), number)
        picture.putpalette([number, 2, 3] * 256)
        picture.save(tmp_path / f"{number}.png", transparency=bytes(range(256)))
    assert load(tmp_path).shape == (3, 3, 3)
    bound = mock.patch.object(Image, "MAX_IMAGE_PIXELS", 8)
    with bound, pytest.raises(DataError, match="could be decompression bomb"):
        load(tmp_path)


class Trap:
    """What a checkpoint from a stranger may hold: unpickled, it calls what it likes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_cannot_run_code(tmp_path, monkeypatch):
    """Tensors and plain data are read, anything else is refused, whatever the environment says."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    folder, sprung = RunFolder(tmp_path / "run"), tmp_path / "sprung"
    folder.create({})
    folder.save({"step": 1, "tensor": torch.ones(2)})
    assert folder.load(torch.device("cpu"))["step"] == 1
    folder.save({"step": 1, "task": Trap(sprung)})
    with pytest.raises(RunError, match="expected a checkpoint, got a file that torch cannot read"):
        folder.load(torch.device("cpu"))
    assert not sprung.exists()
    torch.load(folder.checkpoint, weights_only=False)
    assert sprung.exists()  # the trap works where it is let
