"""Images: what a set holds, what each treatment does to pixels, and what a name means."""

import math
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from data_cases import pixels, write_idx
from reparam.data import Binarization, DataError, Images, load
from reparam.data.split import fixed_permutation

BINARY = [how for how in get_args(Binarization) if how != "none"]
FALSE_FAIL = 1e-6
PINNED = [402, 993, 40, 1549, 186, 583]


def grey(value: float, count: int = 80) -> Images:
    """Return images whose every pixel has one intensity."""
    values = torch.full((count, 1, 32, 32), value)
    return Images("grey", values, values.clone(), redraw=True)


def test_images_give_their_shape_and_rows() -> None:
    """The shape is of one image, and a batch is the rows asked for, in their order."""
    images = Images("tiny", torch.rand(5, 3, 4, 6), torch.rand(2, 3, 4, 6))
    assert images.shape == (3, 4, 6)
    batch = images.batch(torch.tensor([4, 0, 4]))
    assert torch.equal(batch, images.train[[4, 0, 4]])


def test_a_plain_batch_leaves_the_generator_alone() -> None:
    """Without redrawing nothing is drawn: the rows come as they are, whatever the key."""
    images, before = load("digits"), torch.get_rng_state()
    for key in (None, 3):
        assert torch.equal(images.batch(torch.arange(3), key), images.train[:3])
    assert torch.equal(torch.get_rng_state(), before)


def test_redrawn_images_follow_their_keys() -> None:
    """One key draws an image alike in any batch, another does not; the intensities stay."""
    images, rows, keys = grey(0.5), torch.arange(8), torch.arange(5, 13)
    drawn = images.batch(rows, keys)
    assert torch.equal(images.batch(rows[2:4], keys[2:4]), drawn[2:4])
    assert len(drawn.unique(dim=0)) == 8
    assert not torch.equal(images.batch(rows, keys + 8), drawn)
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
    for seen in (images.test, images.batch(torch.arange(100), 0)):
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
    redrawn = dynamic.batch(torch.arange(count), 1)
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
