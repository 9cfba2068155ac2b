"""The options of models of images."""

from dataclasses import dataclass
from typing import Literal

from reparam.training.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ImageSettings(Settings):
    """Which images, and how their pixels are treated: the arguments of `reparam.data.load`."""

    data: str = "digits"
    """Images: digits (embedded), mnist (downloaded once), or a path: a folder of IDX files or of
    pictures, a .npy or .npz file."""

    binarize: Literal["none", "threshold", "static", "dynamic"] = "dynamic"
    """Pixels: dynamic draws training pixels black or white by their intensity at every visit,
    static once, threshold cuts at one half, none keeps the grey levels (then a bound is one on
    the cross-entropy, not on log p(x))."""
