"""The report: exact pictures, true numbers, every section, and nothing that needs a network."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from plotly.offline import get_plotlyjs
from torch import Tensor

from acceptance import seeded
from reparam.report.curves import curves
from reparam.report.page import Section, plot, table, write_page
from reparam.report.pictures import data_uri, grid
from tiny_runs import options, records, reparam, write_images

SECTIONS = ["Result", "Learning curves", "Temperature", "Reconstructions"]
SECTIONS += ["Samples from the prior", "Use of the codes", "Settings"]
CONTINUOUS = [s.replace("codes", "latents") for s in SECTIONS if s != "Temperature"]


class Page(HTMLParser):
    """A page as a browser reads it: its resources, its scripts, and its text by element."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.resources: list[str] = []
        self.scripts: list[str] = []
        self.cells: list[list[str]] = []
        self.texts: dict[str, list[str]] = {}
        self.inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what would be loaded."""
        self.inside = tag
        self.texts.setdefault(tag, []).append("")
        found = [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]
        self.resources += [uri for uri in found if not uri.startswith("#")]

    def handle_endtag(self, tag: str) -> None:
        """Text after an element belongs to none."""
        self.inside = ""

    def handle_data(self, data: str) -> None:
        """Text, with its entities resolved."""
        if self.inside:
            self.texts[self.inside][-1] += data

    def rows(self) -> dict[str, str]:
        """The tables: name and value."""
        values = self.texts["td"][::2]
        return dict(zip(self.texts["th"], values, strict=True))


def make(folder: Path, model: str = "discrete-vae", **changed: object) -> Page:
    """Train through the command line, and read the report."""
    outcome = reparam(*options(model, out=folder / "run", **changed))
    assert outcome.status == 0, outcome
    return Page(folder / "run" / "report.html")


@pytest.fixture(scope="module")
def relaxed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a report, of a relaxed estimator and of data with a dangerous name."""
    folder = tmp_path_factory.mktemp("report")
    data = write_images(folder / "<b>&'.npy")
    make(folder, data=data, estimator="gumbel-softmax")
    return folder / "run"


@pytest.fixture(scope="module")
def page(relaxed: Path) -> Page:
    """Its report."""
    return Page(relaxed / "report.html")


def decoded(uri: str) -> Tensor:
    """The bytes of a PNG data URI, `(C, H, W)`."""
    head, _, content = uri.partition(",")
    assert head == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    width, height = image.size
    values = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return values.reshape(height, width, len(image.getbands())).permute(2, 0, 1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_picture_has_the_pixels_it_was_given(channels):
    """Rounded to bytes, clamped to the range; grey, color, and both with alpha."""
    image = torch.rand(channels, 5, 3, generator=seeded(0)) * 1.4 - 0.2
    expected = (image.clamp(0, 1) * 255).round()
    assert torch.equal(decoded(data_uri(image)).float(), expected)


@pytest.mark.parametrize("count", [1, 4, 5, 6])
def test_the_grid_is_row_by_row_with_white_gaps(count):
    """Image i stands in row i // columns, column i % columns; all else is white."""
    images = 0.9 * torch.rand(count, 3, 4, 2, generator=seeded(0))
    whole = grid(images, columns=3, gap=2)
    rows = -(-count // 3)
    expected = torch.ones(3, rows * 6, 3 * 4)
    for i, image in enumerate(images):
        top, left = i // 3 * 6, i % 3 * 4
        expected[:, top : top + 4, left : left + 2] = image
    assert torch.equal(whole, expected)


def test_the_page_loads_nothing(page):
    """Its only resources are pictures inside it; outside plotly.js no address is mentioned."""
    assert page.resources
    assert all(uri.startswith("data:image/png;base64,") for uri in page.resources)
    rest = "".join(text for tag, all_ in page.texts.items() for text in all_ if tag != "script")
    assert not re.search(r"https?:|@import|url\(", rest)


def test_plotly_is_embedded_once(relaxed, page):
    """The whole library in one script; the others are the figures."""
    assert sum(script == get_plotlyjs() for script in page.texts["script"]) == 1
    small = [script for script in page.texts["script"] if script != get_plotlyjs()]
    assert all(len(script) < 50_000 for script in small)
    assert len(figures(page)) == 4
    assert not list(relaxed.glob("*.part"))


def figures(page: Page) -> list[dict[str, Any]]:
    """What the figures of a page are drawn from."""
    found = [json.loads(text) for text in page.texts["script"] if text.startswith("{")]
    return [figure for figure in found if "layout" in figure]


def test_a_page_is_the_same_whenever_it_is_written(tmp_path):
    """Bit for bit, so that a change of a report is a change of the run."""
    figure = curves([{"step": 1, "split": "train", "kl": 2.0}], {"a": ("train", "kl")}, "<nats>")
    first, second = (
        write_page(tmp_path / name, "title", "", [Section("one", "", plot(figure))]).read_bytes()
        for name in "ab"
    )
    assert first == second


def test_few_sections_need_no_links(tmp_path):
    """From four sections on, a page begins with links to their headings."""
    for count in (3, 4):
        sections = [Section(f"<{i}>", "", "") for i in range(count)]
        page = Page(write_page(tmp_path / "page.html", "title", "", sections))
        links = [text for text in page.texts.get("a", []) if text != "Skip to the content"]
        assert links == (page.texts["h2"] if count == 4 else [])


def test_a_table_is_escaped_and_scrolls_in_its_own_box():
    """Names and values may hold anything; the box is reached by keys."""
    html = table([("<a>", "1 & 2", '"b"')])
    assert "<a>" not in html
    assert "1 &amp; 2" in html
    assert html.startswith('<div class="scroll" role="region" tabindex="0" aria-label="table">')


def test_the_sections_are_all_there(page):
    """In order, with what is dangerous in a name made harmless."""
    assert page.texts["h2"] == SECTIONS
    assert page.texts["title"] == page.texts["h1"] == ["discrete-vae on <b>&'.npy"]
    subtitle = (
        r"Sampling step differentiated by gumbel-softmax\. .*\d+ training and \d+ test images.*"
    )
    assert re.fullmatch(subtitle, page.texts["p"][0])
    assert "b" not in page.texts


def test_the_numbers_are_those_of_the_records(relaxed, page):
    """The final record, to two decimals, and the gap between belief and bound."""
    (final,) = records(relaxed, final=True)
    rows = page.rows()
    names = ["bound", "reconstruction", "kl", "relaxed", "bound_3"]
    assert {name: rows[name] for name in names} == {name: f"{final[name]:.2f}" for name in names}
    assert rows["gap"] == f"{final['relaxed'] - final['bound']:.2f}"
    settings = json.loads((relaxed / "config.json").read_text())
    assert {k: rows[k.replace("_", "-")] for k in settings} == {
        k: str(v) for k, v in settings.items()
    }


def test_the_curves_are_those_of_the_records(relaxed, page):
    """Each series, point by point."""
    series = {}
    for figure in figures(page):
        for trace in figure["data"]:
            series[trace.get("name")] = (trace.get("x"), trace.get("y"))
    split = {"train": records(relaxed, split="train"), "test": records(relaxed, split="test")}
    for name, (kind, metric) in {
        "test bound (hard samples)": ("test", "bound"),
        "test relaxed value, no bound": ("test", "relaxed"),
        "training relaxed value, no bound": ("train", "relaxed"),
        "training": ("train", "kl"),
        "test": ("test", "kl"),
        "temperature": ("train", "tau"),
    }.items():
        assert series[name] == tuple([r[k] for r in split[kind]] for k in ("step", metric)), name
    assert "training bound" not in series


@pytest.mark.parametrize(
    ("model", "shape", "changed", "sections"),
    [
        ("discrete-vae", (6, 9, 3), {"encoder": "conv", "estimator": "score"}, None),
        ("discrete-vae", (9, 6), {"binarize": "none"}, SECTIONS),
        ("vae", (5, 8, 4), {"encoder": "conv"}, CONTINUOUS),
        ("vae", (7, 5, 2), {"estimator": "score"}, CONTINUOUS),
    ],
)
def test_every_kind_of_run_has_a_report(model, shape, changed, sections, tmp_path):
    """Convolutions, colour, alpha, images that are not square; originals are shown exactly."""
    channels_last = len(shape) == 3
    layout = (shape[2], *shape[:2]) if channels_last else (1, *shape)
    data = write_images(tmp_path / "own.npy", count=40, shape=layout)
    page = make(tmp_path, model, data=data, **changed)
    assert page.texts["h2"] == (sections or [s for s in SECTIONS if s != "Temperature"])
    originals, reconstructions, samples = map(decoded, page.resources)
    test = prepared_test(data, changed.get("binarize", "dynamic"))
    assert torch.equal(originals, (grid(test, 10) * 255).round().byte())
    assert reconstructions.shape == originals.shape
    assert samples.shape == (layout[0], 4 * (layout[1] + 1), 10 * (layout[2] + 1))


def prepared_test(data: Path, binarize: str) -> Tensor:
    """The held-out images, as the run sees them."""
    from reparam.data import load  # noqa: PLC0415

    return load(data, binarize=binarize, seed=0).test  # type: ignore[arg-type]
