"""Read IDX, the format of MNIST: a header of big-endian integers, then the bare bytes.

Two zero bytes, a type byte (0x08 is unsigned byte), the number of dimensions, each dimension as
four bytes, then the values in row-major order. http://yann.lecun.com/exdb/mnist/
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import torch
from torch import Tensor

from reparam.data.images import DataError

UNSIGNED_BYTE = 0x08
IMAGES, LABELS = 3, 1
"""How many dimensions a file of each has."""
DIMENSIONS = {IMAGES: "3 dimensions (count, height, width)", LABELS: "1 dimension (count)"}
GZIP_MAGIC = b"\x1f\x8b"
CHUNK = 1 << 20
"""Bytes at a time."""


def read_idx(path: Path, rank: int = IMAGES) -> Tensor:
    """Return the images of an IDX file, gzipped or not, as `parse_idx` does, or its labels.

    Raises:
        DataError: if the file is corrupt, truncated, overlong, or holds something else.
    """
    header = 4 + 4 * rank
    announced = math.prod(_shape(unzipped(path, header), path, rank))
    # A byte more shows an overlong file, which may decompress to any size.
    return parse_idx(unzipped(path, header + announced + 1), path, rank)


def unzipped(path: Path, most: float = math.inf) -> bytes:
    """Return the content of a file, decompressed if it is gzip, whatever its name.

    most: how many bytes to stop after.

    Raises:
        DataError: if it starts as gzip but does not decompress to the end.
    """
    with path.open("rb") as file:
        if file.peek(2)[:2] != GZIP_MAGIC:
            return _start(file, most)
        try:
            with gzip.open(file) as content:
                return _start(cast(BinaryIO, content), most)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(
                f"{path}: expected a whole gzip file, got {path.stat().st_size} bytes that do not "
                f"decompress ({error}); fetch the file again"
            ) from error


def _start(file: BinaryIO, most: float) -> bytes:
    """The first bytes of a file, in pieces: only what is there takes memory."""
    content = bytearray()
    while piece := file.read(int(min(most - len(content), CHUNK))):
        content += piece
    return bytes(content)


def parse_idx(content: bytes, where: Path | str, rank: int = IMAGES) -> Tensor:
    """Return what is in `content` as bytes; `where` names it in errors.

    rank: IMAGES, of shape (N, H, W), or LABELS, of shape (N).

    Raises:
        DataError: if the header is of another rank, or the length is not what it announces.

    >>> parse_idx(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 7, 9]), "tiny")
    tensor([[[7, 9]]], dtype=torch.uint8)
    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), "tiny", LABELS)
    tensor([7, 9], dtype=torch.uint8)
    """
    shape, header = _shape(content, where, rank), 4 + 4 * rank
    _check_length(shape, len(content) - header, where)
    # A copy, because torch warns of memory that Python will not let it write.
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=header).view(shape)


def _shape(content: bytes, where: Path | str, rank: int) -> tuple[int, ...]:
    _check_magic(content[:4], where, rank)
    header = 4 + 4 * rank
    if len(content) < header:
        raise DataError(
            f"{where}: expected a header of {header} bytes, got {len(content)}; "
            "the file is truncated, fetch it again"
        )
    return struct.unpack(f">{rank}I", content[4:header])


def _check_magic(magic: bytes, where: Path | str, expected: int) -> None:
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(
            f"{where}: expected IDX, which starts with the magic number 00 00 08 0{expected}, "
            f"got {magic.hex(' ') or 'an empty file'}"
        )
    kind, rank = magic[2:]
    if kind != UNSIGNED_BYTE:
        raise DataError(
            f"{where}: expected the type byte 0x08 (unsigned byte), got 0x{kind:02x}; "
            "convert the values to bytes 0..255"
        )
    if rank != expected:
        hint = {IMAGES: "; is it the file of images?", LABELS: "; is it the file of labels?"}
        raise DataError(f"{where}: expected {DIMENSIONS[expected]}, got {rank}{hint.get(rank, '')}")


def _check_length(shape: tuple[int, ...], got: int, where: Path | str) -> None:
    expected = math.prod(shape)
    if expected == 0:
        raise DataError(f"{where}: expected at least one example, got dimensions {shape}")
    if got != expected:
        state, found = ("truncated", got) if got < expected else ("overlong", "more")
        raise DataError(
            f"{where}: expected {expected} bytes of values for dimensions {shape}, got {found}; "
            f"the file is {state}, fetch it again"
        )
