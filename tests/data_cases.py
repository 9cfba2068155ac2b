"""Image files as their formats' definitions say, written without the library's help."""

import gzip
import struct
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from reparam.data.mnist import TEST, TRAIN

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"


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


CONTENT = idx(pixels(40, 64, 64))
"""About ten chunks, so that half of it survives a dropped connection."""
