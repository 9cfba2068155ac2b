"""Damaged files and senseless commands: one line that says what is wrong, never a traceback."""

import errno
import gzip
import io
import os
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
from reparam.recipes import MODELS
from reparam.training.folder import RunError, RunFolder
from tiny_runs import reparam

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
