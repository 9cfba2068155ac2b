"""Figures as files: PNG, SVG, their numbers, and one page of them all."""

import io
import json
from collections.abc import Collection, Mapping
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from reparam.figures import FIGURES
from reparam.figures.style import SETTINGS
from reparam.report.page import Section, write_page

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
    """NAME.png, NAME.svg and NAME.json in the folder; the numbers."""
    import matplotlib as mpl  # noqa: PLC0415 (an extra, and slow to import)

    figure = FIGURES[name]
    found = figure.measure(seed)
    settings: Any = SETTINGS  # matplotlib types every name
    with mpl.rc_context(settings):
        drawn = figure.draw(found)
        drawn.savefig(out / f"{name}.png", dpi=160, metadata={"Software": None})
        svg = io.StringIO()
        drawn.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    (out / f"{name}.svg").write_text(svg.getvalue(), encoding="utf-8")
    record = {"command": command(name, seed), "caption": figure.caption(found), **found}
    (out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return found


def write_index(found: Mapping[str, Numbers], seed: int, out: Path) -> Path:
    """`index.html`, the figures in their order on one page that needs nothing else."""
    sections = [_section(name, found[name], seed, out) for name in FIGURES if name in found]
    subtitle = "Every number here was computed when the page was made."
    return write_page(out / "index.html", "Training through randomness", subtitle, sections)


def _section(name: str, found: Numbers, seed: int, out: Path) -> Section:
    figure = FIGURES[name]
    svg = (out / f"{name}.svg").read_text(encoding="utf-8")
    # Ids are of the one picture only: two on a page would share clip paths and glyphs.
    svg = svg[svg.index("<svg") :]
    body = (
        f'<figure class=sheet aria-label="{escape(figure.TITLE)}">{_apart(svg, name)}</figure>'
        f"<p class=note><code>{escape(command(name, seed))}</code></p>"
    )
    return Section(figure.TITLE, figure.caption(found), body)


def _apart(svg: str, name: str) -> str:
    """The picture with ids of its own, that fits the width it is given."""
    for mark in ('id="', 'href="#', "url(#"):
        svg = svg.replace(mark, f"{mark}{name}-")
    start, rest = svg.split(">", 1)
    return f'{start} style="width: 100%; height: auto">{rest}'
