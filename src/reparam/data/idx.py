"""Read IDX, the format of MNIST: a header of big-endian integers, then the bare bytes.

Two zero bytes, a type byte (0x08 is unsigned byte), the number of dimensions, each dimension as
four bytes, then the values in row-major order. http://yann.lecun.com/exdb/mnist/
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

from reparam.data.images import DataError

UNSIGNED_BYTE = 0x08
RANK = 3
HEADER = 4 + 4 * RANK
GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: Path) -> Tensor:
    """Return the images of an IDX file, gzipped or not: bytes of shape (N, H, W).

    Raises:
        DataError: if the file is corrupt, truncated, overlong, or holds something else.
    """
    return parse_idx(unzipped(path), path)


def unzipped(path: Path) -> bytes:
    """Return the content of a file, decompressed if it is gzip, whatever its name.

    Raises:
        DataError: if it starts as gzip but does not decompress to the end.
    """
    content = path.read_bytes()
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"{path}: expected a whole gzip file, got {len(content)} bytes that do not "
            f"decompress ({error}); fetch the file again"
        ) from error


def parse_idx(content: bytes, where: Path | str) -> Tensor:
    """Return the images in `content` as bytes of shape (N, H, W); `where` names it in errors.

    Raises:
        DataError: if the header is not that of images, or the length is not what it announces.

    >>> parse_idx(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 7, 9]), "tiny")
    tensor([[[7, 9]]], dtype=torch.uint8)
    """
    _check_magic(content[:4], where)
    if len(content) < HEADER:
        raise DataError(
            f"{where}: expected a header of {HEADER} bytes, got {len(content)}; "
            "the file is truncated, fetch it again"
        )
    shape = struct.unpack(f">{RANK}I", content[4:HEADER])
    _check_length(shape, len(content) - HEADER, where)
    # A copy, because torch warns of memory that Python will not let it write.
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=HEADER).view(shape)


def _check_magic(magic: bytes, where: Path | str) -> None:
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(
            f"{where}: expected IDX, which starts with the magic number 00 00 08 03, "
            f"got {magic.hex(' ') or 'an empty file'}"
        )
    kind, rank = magic[2:]
    if kind != UNSIGNED_BYTE:
        raise DataError(
            f"{where}: expected the type byte 0x08 (unsigned byte), got 0x{kind:02x}; "
            "convert the pixels to bytes 0..255"
        )
    if rank != RANK:
        hint = "; is it the file of labels?" if rank == 1 else ""
        raise DataError(
            f"{where}: expected {RANK} dimensions (count, height, width), got {rank}{hint}"
        )


def _check_length(shape: tuple[int, ...], got: int, where: Path | str) -> None:
    expected = math.prod(shape)
    if expected == 0:
        raise DataError(f"{where}: expected at least one image, got dimensions {shape}")
    if got != expected:
        state = "truncated" if got < expected else "overlong"
        raise DataError(
            f"{where}: expected {expected} bytes of pixels for dimensions {shape}, got {got}; "
            f"the file is {state}, fetch it again"
        )
