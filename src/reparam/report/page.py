"""One self-contained page: no network, plotly.js embedded once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #1f2a37; background: #fff;
       max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin-bottom: .2rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
p.note { color: #4b5563; margin: .3rem 0 .8rem; max-width: 46rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { text-align: left; padding: .25rem 1.2rem .25rem 0; border-bottom: 1px solid #e5e7eb;
         vertical-align: top; }
td.number { text-align: right; white-space: nowrap; }
img { image-rendering: pixelated; max-width: 100%; display: block; margin: .3rem 0 1rem; }
figure { margin: 0; } code { background: #f3f4f6; padding: .1rem .3rem; border-radius: 3px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.5rem; }
"""


@dataclass(frozen=True)
class Section:
    """A heading, what to know about it, and HTML made by the functions below."""

    title: str
    note: str
    body: str


def plot(figure: Any) -> str:
    """A plotly figure."""
    html: str = figure.to_html(
        full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True}
    )
    return html


def picture(uri: str, label: str, pixels: int) -> str:
    """An image shown `pixels` wide."""
    return f'<figure><img src="{uri}" alt="{escape(label)}" width="{pixels}"></figure>'


def table(rows: Iterable[Sequence[str]]) -> str:
    """Rows of name, value and remark."""
    cells = "".join(
        f"<tr><th>{escape(name)}</th><td class=number>{escape(value)}</td>"
        f"<td>{escape(remark)}</td></tr>"
        for name, value, remark in rows
    )
    return f"<table>{cells}</table>"


def write_page(path: Path, title: str, subtitle: str, sections: Iterable[Section]) -> Path:
    """Write the page; returns its path."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 (an extra)

    body = "".join(
        f"<h2>{escape(s.title)}</h2><p class=note>{escape(s.note)}</p>{s.body}" for s in sections
    )
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head><body>"
        f"<h1>{escape(title)}</h1><p class=note>{escape(subtitle)}</p>{body}</body></html>"
    )
    partial = path.with_name(path.name + ".part")
    partial.write_text(html, encoding="utf-8")
    return partial.replace(path)
