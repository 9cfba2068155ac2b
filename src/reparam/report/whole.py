"""Files that are written whole or not at all."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Write beside the file, then put it in its place: a crash leaves the old one or the new."""
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        return partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()  # it may be all that fills the disk
        raise
