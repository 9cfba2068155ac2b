"""MNIST from a mirror: whole, resumed, checked, and refused with the way out."""

import gzip
import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from data_cases import CONTENT, idx, pixels
from reparam.data import DataError
from reparam.data.download import CHUNK, fetch, verified
from reparam.data.mnist import SHA256, TEST, TRAIN, mnist


@dataclass
class Mirror:
    """What a local server sends, how it fails, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    drops: int = 0
    ranges: bool = True
    url: str = ""
    asked: list[str | None] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Send the file or the range; half of it, under a full length, while drops are left."""
        asked = request.headers["Range"]
        self.asked.append(asked)
        content = self.files.get(request.path[1:])
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if content is None or start >= len(content):
            request.send_error(404 if content is None else 416)
            return
        body = content[start:]
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        drop, self.drops = self.drops > 0, max(0, self.drops - 1)
        request.wfile.write(body[: len(body) // 2] if drop else body)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Serve on 127.0.0.1 for the length of a test, and leave no thread behind."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    state = Mirror()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    before = threading.active_count()
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        yield state
        server.shutdown()
        thread.join()
    assert threading.active_count() == before


DIGEST = hashlib.sha256(CONTENT).hexdigest()


def get(folder: Path, *mirrors: str, sha256: str = DIGEST) -> Path:
    """Fetch the generated file."""
    return fetch("some.gz", folder, mirrors=mirrors, sha256=sha256)


@pytest.fixture
def small_mnist(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """A mirror with two small files, and the checksums changed to theirs."""
    for stem, count in ((TRAIN, 5), (TEST, 2)):
        content = idx(pixels(count, 28, 28))
        monkeypatch.setitem(SHA256, stem, hashlib.sha256(content).hexdigest())
        mirror.files[f"{stem}.gz"] = gzip.compress(content)
    return mirror


def test_mnist_is_downloaded_once(small_mnist: Mirror, tmp_path: Path) -> None:
    """The first call fetches both files and nothing else stays; the second asks no mirror."""
    first = mnist(tmp_path, [small_mnist.url])
    second = mnist(tmp_path, [])
    assert (len(first.train), len(first.test)) == (5, 2)
    assert torch.equal(first.train, second.train)
    assert len(small_mnist.asked) == 2
    names = sorted(path.name for path in (tmp_path / "mnist").iterdir())
    assert names == [f"{TEST}.gz", f"{TRAIN}.gz"]


def test_a_damaged_cache_is_deleted_and_said(small_mnist: Mirror, tmp_path: Path) -> None:
    """Valid IDX with one changed byte is deleted; loading again then fetches it anew."""
    mnist(tmp_path, [small_mnist.url])
    path = tmp_path / "mnist" / f"{TEST}.gz"
    path.write_bytes(idx(pixels(2, 28, 28, seed=9)))
    with pytest.raises(DataError, match=r"expected content with SHA-256 .*, got .*was deleted"):
        mnist(tmp_path, [])
    assert not path.exists()
    assert len(mnist(tmp_path, [small_mnist.url]).test) == 2


def test_a_file_that_does_not_decompress_is_deleted_and_said(tmp_path: Path) -> None:
    """Half a gzip file under the final name would otherwise fail for ever."""
    path = tmp_path / "half.gz"
    path.write_bytes(gzip.compress(CONTENT)[:-20])
    with pytest.raises(DataError, match=r"whole gzip file, .*it was deleted"):
        verified(path, DIGEST)
    assert not path.exists()


@pytest.mark.parametrize("drops", [0, 1, 3])
def test_a_dropped_download_resumes(drops: int, mirror: Mirror, tmp_path: Path) -> None:
    """After each drop only the rest is asked for, and the file is whole."""
    mirror.files["some.gz"], mirror.drops = CONTENT, drops
    assert get(tmp_path, mirror.url).read_bytes() == CONTENT
    starts = [int(asked[6:-1]) for asked in mirror.asked[1:] if asked]
    assert mirror.asked[0] is None
    assert len(starts) == drops
    assert starts == sorted(set(starts))
    if drops:
        assert len(CONTENT) // 2 - CHUNK <= starts[0] <= len(CONTENT) // 2
    assert [path.name for path in tmp_path.iterdir()] == ["some.gz"]


def test_a_later_call_resumes_an_earlier_one(mirror: Mirror, tmp_path: Path) -> None:
    """What an interrupted program left in the `.part` is not asked for again."""
    mirror.files["some.gz"], mirror.drops, mirror.ranges = CONTENT, 2, False
    with pytest.raises(DataError, match="could not be downloaded"):
        get(tmp_path, mirror.url)
    (part,) = tmp_path.iterdir()
    assert part.suffix == ".part"
    left = part.stat().st_size
    assert 0 < left < len(CONTENT)
    mirror.ranges = True
    assert get(tmp_path, mirror.url).read_bytes() == CONTENT
    assert mirror.asked[-1] == f"bytes={left}-"


def test_a_server_without_ranges_starts_anew(mirror: Mirror, tmp_path: Path) -> None:
    """A whole file sent in answer to a range replaces the half, instead of following it."""
    mirror.files["some.gz"], mirror.drops, mirror.ranges = CONTENT, 1, False
    assert get(tmp_path, mirror.url).read_bytes() == CONTENT
    assert len(mirror.asked) == 2


def test_a_complete_part_needs_no_byte(mirror: Mirror, tmp_path: Path) -> None:
    """A program stopped between the last byte and the renaming goes on from there."""
    mirror.files["some.gz"], mirror.drops, mirror.ranges = CONTENT, 2, False
    with pytest.raises(DataError):
        get(tmp_path, mirror.url)
    (part,) = tmp_path.iterdir()
    part.write_bytes(CONTENT)
    mirror.ranges = True
    assert get(tmp_path, mirror.url).read_bytes() == CONTENT
    assert not part.exists()


def test_a_wrong_file_is_deleted_and_the_next_mirror_asked(mirror: Mirror, tmp_path: Path) -> None:
    """A mirror with other content costs one attempt; with no other mirror it is an error."""
    mirror.files["old/some.gz"], mirror.files["some.gz"] = idx(pixels(1, 2, 2)), CONTENT
    with pytest.raises(DataError, match=r"old/ .*expected content with SHA-256 .*was deleted"):
        get(tmp_path, mirror.url + "old/")
    assert list(tmp_path.iterdir()) == []
    assert get(tmp_path, mirror.url + "old/", mirror.url).read_bytes() == CONTENT


def test_mirrors_are_tried_in_turn(mirror: Mirror, tmp_path: Path) -> None:
    """A mirror that lacks the file is passed over, and named with its status if all fail."""
    mirror.files["some.gz"] = CONTENT
    assert get(tmp_path, mirror.url + "gone/", mirror.url).read_bytes() == CONTENT
    with pytest.raises(DataError, match=r"gone/ HTTP 404; .*lost/ HTTP 404"):
        get(tmp_path, mirror.url + "gone/", mirror.url + "lost/")


def test_offline_is_one_line_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network the message says how to use files fetched elsewhere."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with pytest.raises(DataError, match=r"ConnectionError.*offline.*folder") as refusal:
            mnist(tmp_path, [url])
    assert "\n" not in str(refusal.value)
