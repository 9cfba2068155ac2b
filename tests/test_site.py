"""The site builds from nothing, every cell of it runs, and every link and name is there."""

import os
import re
import shutil
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

import reparam
from acceptance import OLD

pytest.importorskip("zensical")
if OLD:
    pytest.skip("zensical dies when a page imports torch 2.10", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[1]
INPUTS = ("docs", "src", "benchmarks", "zensical.toml")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of a strict build, which fails for pages and links that are not there."""
    home = tmp_path_factory.mktemp("site")
    for name in INPUTS:
        place = ROOT / name
        copy = shutil.copytree if place.is_dir() else shutil.copy
        copy(place, home / name)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(  # noqa: S603
        command, cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return home / "build" / "site"


class Page(HTMLParser):
    """What a page names, links to and loads."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loads = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Called for every tag."""
        values = dict(attrs)
        self.ids |= {values[k] for k in ("id", "name") if values.get(k)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        loaded = values.get("src") or (values.get("href") if tag == "link" else None)
        if loaded:
            self.loads.append(loaded)


@pytest.fixture(scope="module")
def pages(site):
    """Every page by its path."""
    return {path: Page(path) for path in site.rglob("*.html")}


def target(page, link, site):
    """The file that a link of a page leads to."""
    path = unquote(urlsplit(link).path)
    place = site / path.lstrip("/") if path.startswith("/") else page.parent / path
    place = place.resolve() if path else page
    return place / "index.html" if place.is_dir() else place


def test_links_lead_somewhere(site, pages):
    """To a page of the site, and where they name one, to a place on it."""
    lost = []
    for page, found in pages.items():
        for link in found.links:
            if urlsplit(link).scheme or page.name == "404.html":
                continue
            place, name = target(page, link, site), unquote(urlsplit(link).fragment)
            ids = pages[place].ids if place in pages else set()
            if not place.exists() or (name and place in pages and name not in ids | {"__top"}):
                lost.append(f"{page.relative_to(site)}: {link}")
    assert not lost


def test_nothing_is_loaded_from_elsewhere(pages):
    """The site works without a network."""
    assert not {load for page in pages.values() for load in page.loads if urlsplit(load).netloc}


def test_every_cell_ran(pages):
    """None of them left a traceback, and the tutorial shows what its cells printed."""
    texts = {path: unescape(path.read_text(encoding="utf-8")) for path in pages}
    assert not [path for path, text in texts.items() if "Traceback (most recent" in text]
    (tutorial,) = (text for path, text in texts.items() if path.name == "tutorial.html")
    plain = re.sub(r"<[^>]+>", "", tutorial)
    assert "gradient 0.0" in plain
    bounds = [float(nats) for nats in re.findall(r"bound\s+(-\d+\.\d+) nats", plain)]
    assert len(bounds) == 4
    assert all(-25 < nats < -17 for nats in bounds)
    assert "<svg" in tutorial


def test_every_public_name_has_an_entry(pages):
    """Of the package and of its rooms."""
    ids = set().union(*(page.ids for path, page in pages.items() if "api" in path.parts))
    public = {name: getattr(reparam, name) for name in reparam.__all__}
    rooms = {name: room for name, room in public.items() if isinstance(room, ModuleType)}
    assert {"distributions", "functional", "nn", "schedules", "baselines"} <= set(rooms)
    names = {f"reparam.{name}" for name in set(public) - set(rooms)}
    names |= {f"reparam.{name}.{own}" for name, room in rooms.items() for own in room.__all__}
    assert not names - ids
    # A function in a file of its own name has the entry, not the file with all that is in it.
    assert not [found for found in ids if re.search(r"\.(\w+)\.\1$", found)]


def test_described_arguments_are_lists(pages):
    """Each on a line of its own, not run into the sentence before."""
    for path in pages:
        if "api" in path.parts:
            assert not re.search(r"<p>[^<]*\s- [a-z_]+: ", path.read_text(encoding="utf-8")), path
