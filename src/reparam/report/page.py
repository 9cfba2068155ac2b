"""One self-contained page: no network, plotly.js embedded once, light or dark."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from reparam.report.whole import write_whole

HERE = Path(__file__).parent
MANY = 4
"""Sections from which on a page begins with links to them."""
LETTERS = 120
"""That fit beside each other over a plot; a name takes six more for its line."""
ZOOM = "".join(
    f'<button type="button" value="{factor}" aria-label="{label}">{sign}</button>'
    for factor, label, sign in (
        (0.7, "Zoom in", "+"),
        (1.43, "Zoom out", "&minus;"),
        (0, "Whole figure", "&#8634;"),
    )
)


@dataclass(frozen=True)
class Section:
    """A heading, what to know about it, and HTML made by the functions below."""

    title: str
    note: str
    body: str


def plot(figure: Any) -> str:
    """A plotly figure whose axes are named; page.js draws it."""
    x, y = (axis.title.text for axis in (figure.layout.xaxis, figure.layout.yaxis))
    label = escape(f"{y} against {x}. Arrow keys: values. Plus, minus and 0: zoom.")
    return (
        f'<figure class="plot" style="--series: {len(figure.data)}; --rows: {_rows(figure)}">'
        f'<div role="application" tabindex="0" aria-label="{label}"></div>'
        f'<div class="zoom">{ZOOM}</div>'
        f'<script type="application/json">{figure.to_json()}</script></figure>'
    )


def _rows(figure: Any) -> int:
    """Of the legend on a wide page, in columns as wide as the longest name."""
    longest = max((len(series.name or "") for series in figure.data), default=0)
    return math.ceil(len(figure.data) / max(1, LETTERS // (longest + 6)))


def picture(uri: str, label: str, pixels: int) -> str:
    """An image shown `pixels` wide."""
    return (
        f'<figure><img src="{uri}" alt="{escape(label)}" width="{pixels}">'
        f"<figcaption>{escape(label)}</figcaption></figure>"
    )


def table(rows: Iterable[Sequence[str]]) -> str:
    """Rows of name, value and remark."""
    cells = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="number">{escape(value)}</td>'
        f'<td class="remark">{escape(remark)}</td></tr>'
        for name, value, remark in rows
    )
    return scroll("table", f"<table>{cells}</table>")


def scroll(label: str, html: str) -> str:
    """What may be wider than a phone, in a box that scrolls by itself, by keys too."""
    name = escape(label)
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{name}">{html}</div>'


def write_page(
    path: Path,
    title: str,
    subtitle: str,
    sections: Iterable[Section],
    *,
    controls: str = "",
    style: str = "",
    script: str = "",
) -> Path:
    """Write the page; returns its path. HTML above the sections, CSS and JavaScript are its own."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 (an extra)

    sections = list(sections)
    css, js = ((HERE / f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    body = "".join(_section(number, s) for number, s in enumerate(sections))
    plotly = get_plotlyjs() if 'class="plot"' in body else ""
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{css}{style}</style><script>{js}</script></head>"
        '<body><a class="skip" href="#main">Skip to the content</a>'
        f"<header><h1>{escape(title)}</h1>"
        '<button type="button" id="theme" aria-pressed="false">Dark</button>'
        f'<p class="note">{escape(subtitle)}</p></header>'
        f'{_links(sections)}<main id="main" tabindex="-1">{controls}{body}</main>'
        '<div id="said" class="unseen" role="status"></div>'
        # After the text, which can be read while this is.
        f"<script>{plotly}</script><script>{script}</script></body></html>"
    )
    return write_whole(path, lambda file: file.write(html.encode()))


def _section(number: int, section: Section) -> str:
    return (
        f'<section aria-labelledby="s{number}"><h2 id="s{number}">{escape(section.title)}</h2>'
        f'<p class="note">{escape(section.note)}</p>{section.body}</section>'
    )


def _links(sections: Sequence[Section]) -> str:
    if len(sections) < MANY:
        return ""
    links = "".join(f'<a href="#s{i}">{escape(s.title)}</a>' for i, s in enumerate(sections))
    return f'<nav aria-label="Sections">{links}</nav>'
