"""`load`: from a name or a path to `Images`."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from reparam.data.binarize import Binarization, binarized, check_choice
from reparam.data.digits import digits
from reparam.data.files import array_file, picture_folder
from reparam.data.images import Images
from reparam.data.mnist import has_idx, idx_folder, mnist

NAMED: dict[str, Callable[[Path | None], Images]] = {
    "digits": lambda _: digits(),
    "mnist": mnist,
}
"""Built-in sources; each is given the cache."""


def load(
    source: str | Path,
    *,
    binarize: Binarization = "none",
    seed: int = 0,
    cache: Path | None = None,
) -> Images:
    """Return the images of a source, their pixels treated as asked.

    Args:
        source: `"digits"`, `"mnist"`, or a path to a `.npy` or `.npz` file, a folder of IDX
            files, or a folder of pictures. A `Path` is always a path, so `Path("mnist")` is the
            folder of that name.
        binarize: `none` keeps intensities; `threshold` is 1[x > 1/2]; `static` draws every pixel
            once as Bernoulli(intensity); `dynamic` redraws training pixels at every visit and
            draws test pixels once.
        seed: of pixels drawn once. The split does not depend on it.
        cache: folder to keep downloads in; the user's cache by default.

    Raises:
        ValueError: if `binarize` is none of these.
        FileNotFoundError: if there is no such name or path.
        DataError: if the file is there but cannot be used, or cannot be downloaded.
        ImportError: if the source needs a package that is missing.

    >>> images = load("digits", binarize="threshold")
    >>> images.shape, len(images.train), len(images.test)
    ((1, 8, 8), 1497, 300)
    """
    check_choice(binarize)
    return binarized(_read(source, cache), binarize, seed)


def _read(source: str | Path, cache: Path | None) -> Images:
    if isinstance(source, str) and source in NAMED:
        return NAMED[source](cache)
    path = Path(source).expanduser()
    if source != "" and path.is_dir():
        return idx_folder(path) if has_idx(path) else picture_folder(path)
    if path.is_file():
        return array_file(path)
    raise FileNotFoundError(
        f"expected {', '.join(NAMED)}, or a path to a .npy or .npz file, a folder of IDX files "
        f"or a folder of pictures, got '{source}'{_did_you_mean(path)}"
    )


def _did_you_mean(path: Path) -> str:
    siblings = [str(near) for near in path.parent.iterdir()] if path.parent.is_dir() else []
    close = get_close_matches(str(path).lower(), [*NAMED, *siblings], n=1)
    return f"; did you mean '{close[0]}'?" if close and close[0] != str(path) else ""
