"""Figures as files: PNG, SVG, their numbers, and one page of them all."""

import io
import json
from collections.abc import Collection, Mapping
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from reparam.figures import FIGURES
from reparam.figures.style import SETTINGS, captioned, unbroken
from reparam.report.page import Section, scroll, write_page

Numbers = dict[str, Any]


def chosen(names: Collection[str]) -> list[str]:
    """The figures of these names, or all, in the order of the page.

    Raises:
        ValueError: for a name that none has.
        ImportError: without matplotlib.
    """
    if find_spec("matplotlib") is None:
        raise ImportError("figures: expected matplotlib, got none; pip install 'reparam[train]'")
    unknown = sorted(set(names) - set(FIGURES))
    if unknown:
        raise ValueError(
            f"--only: expected names among {', '.join(FIGURES)}, got {', '.join(unknown)}"
        )
    return [name for name in FIGURES if not names or name in names]


def command(name: str, seed: int) -> str:
    """What makes the figure again."""
    return f"reparam figures --only {name} --seed {seed}"


def write_figure(name: str, seed: int, out: Path) -> Numbers:
    """NAME.png and NAME.svg in the folder, which state the numbers, and NAME.json; the numbers."""
    figure = FIGURES[name]
    found = figure.measure(seed)
    caption = figure.caption(found)
    drawn = captioned(_drawn(name, found), caption, f"Command: {command(name, seed)}")
    _save(drawn, out / f"{name}.png")
    _save(drawn, out / f"{name}.svg")
    record = {"command": command(name, seed), "caption": caption, **found}
    (out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return found


def _drawn(name: str, found: Numbers) -> Any:
    import matplotlib as mpl  # noqa: PLC0415 (an extra, and slow to import)

    settings: Any = SETTINGS  # matplotlib types every name
    with mpl.rc_context(settings):
        return FIGURES[name].draw(found)


def _save(drawn: Any, to: Path | io.StringIO) -> None:
    """The same bytes from the same numbers."""
    import matplotlib as mpl  # noqa: PLC0415

    png = isinstance(to, Path) and to.suffix == ".png"
    metadata = {"Software": None} if png else {"Date": None, "Creator": None}
    settings: Any = SETTINGS
    with mpl.rc_context(settings):
        form = "png" if png else "svg"
        drawn.savefig(to, format=form, dpi=160, metadata=metadata, bbox_inches="tight")


def write_index(found: Mapping[str, Numbers], seed: int, out: Path) -> Path:
    """`index.html`, the figures in their order on one page that needs nothing else."""
    sections = [_section(name, found[name], seed) for name in FIGURES if name in found]
    subtitle = "Every number here was computed when the page was made."
    return write_page(out / "index.html", "Training through randomness", subtitle, sections)


def _section(name: str, found: Numbers, seed: int) -> Section:
    figure, picture = FIGURES[name], io.StringIO()
    _save(_drawn(name, found), picture)
    svg = picture.getvalue()
    svg = svg[svg.index("<svg") :]
    body = scroll(figure.TITLE, f"<figure class=sheet>{_apart(svg, name)}</figure>")
    body += f"<p class=note><code>{escape(command(name, seed))}</code></p>"
    return Section(figure.TITLE, unbroken(figure.caption(found)), body)


def _apart(svg: str, name: str) -> str:
    """The picture that fits the width it is given, with ids of its own.

    Two pictures on a page would share clip paths and glyphs.
    """
    for mark in ('id="', 'href="#', "url(#"):
        svg = svg.replace(mark, f"{mark}{name}-")
    start, rest = svg.split(">", 1)
    return f'{start} style="width: 100%; height: auto">{rest}'
