"""Fetch a file from one of several mirrors, resuming where an earlier attempt stopped.

pooch 1.9 knows the user's cache and speaks HTTP, but it has no resume: `pooch.retrieve` deletes
its temporary file when a connection drops. So its downloader is given a `.part` file of ours.
Its checksum is of the file as sent, and mirrors compress differently: ours is of the content.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reparam.data.extras import optional
from reparam.data.idx import unzipped
from reparam.data.images import DataError

CHUNK = 1 << 14
"""Bytes per read; what a dropped connection loses at most."""


def user_cache() -> Path:
    """Return the user's folder for what this library downloads."""
    return Path(optional("pooch", "the user's cache").os_cache("reparam"))


def fetch(name: str, folder: Path, *, mirrors: Sequence[str], sha256: str) -> Path:
    """Download `name` into `folder` from the first mirror that delivers it whole.

    The final name appears at once and only after the checksum; until then there is a `.part`.

    Args:
        name: of the file, at the mirror and in `folder`.
        folder: made if absent.
        mirrors: addresses that end in a slash, in order of preference.
        sha256: of the content, decompressed if it is gzip; hexadecimal.

    Raises:
        DataError: if no mirror delivered, in one line with the reason of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for mirror in mirrors:
        part = _part(folder, name, mirror)
        try:
            _download(mirror + name, part)
            verified(part, sha256)
        except (OSError, DataError) as error:
            failures.append(f"{mirror} {_reason(error)}")
        else:
            return part.replace(folder / name)
    raise DataError(
        f"{name}: could not be downloaded ({'; '.join(failures)}); if you are offline, put the "
        "IDX files into a folder and load that: load('path/to/folder')"
    )


def verified(path: Path, sha256: str) -> bytes:
    """Return the content of a file, decompressed; delete the file if it is not what it should be.

    Raises:
        DataError: if the content has another checksum or does not decompress.
    """
    try:
        content = unzipped(path)
        got = hashlib.sha256(content).hexdigest()
    except DataError as error:
        path.unlink()
        raise DataError(f"{error}; it was deleted") from error
    if got != sha256:
        path.unlink()
        raise DataError(
            f"{path}: expected content with SHA-256 {sha256}, got {got}; "
            "the file was deleted, load again to fetch it anew"
        )
    return content


def _part(folder: Path, name: str, mirror: str) -> Path:
    # One per mirror: the same content may be compressed to other bytes elsewhere.
    return folder / f"{name}.{hashlib.sha256(mirror.encode()).hexdigest()[:8]}.part"


def _download(url: str, part: Path) -> None:
    """Append to `part` until the server has no more, as long as each attempt brings something."""
    exceptions = optional("requests", "a download").exceptions
    while True:
        before = _size(part)
        try:
            _append(url, part, start=before)
        except exceptions.RequestException as error:
            # 416: nothing is left to send, and the checksum decides whether that is right.
            if before and _status(error) == 416:
                return
            if _size(part) <= before:
                raise
        else:
            return


def _append(url: str, part: Path, *, start: int) -> None:
    # Compression by the server would make its byte ranges those of another file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with part.open("ab") as file:

        def begin_anew_if_whole(response: Any, **_: Any) -> None:
            if response.status_code == 200:
                file.truncate(0)

        hooks = {"response": begin_anew_if_whole}
        http = optional("pooch", "a download").HTTPDownloader
        http(chunk_size=CHUNK, headers=headers, hooks=hooks)(url, file, None)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _reason(error: Exception) -> str:
    if isinstance(error, DataError):
        return str(error)
    status = _status(error)
    return f"HTTP {status}" if status else type(error).__name__
