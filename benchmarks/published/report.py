"""Tables on the terminal, and the same results as JSON and Markdown."""

import json
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from benchmarks.published.rows import Row, number
from rich.console import Console
from rich.table import Table

COLUMNS = ("figure", "ours", "+-", "theirs", "difference", "criterion", "verdict")
WIDE = 140
"""Columns of a terminal from which the criteria fit; the files always have them."""

COLOURS = {"agrees": "green", "DIFFERS": "bold red", "shown": "dim"}


@dataclass(frozen=True)
class Block:
    """The rows of one block, with what it says of itself."""

    name: str
    about: str
    seconds: float
    rows: list[Row]

    def counts(self) -> str:
        """How many agree, and how many do not."""
        verdicts = [row.verdict for row in self.rows]
        return ", ".join(f"{verdicts.count(v)} {v}" for v in COLOURS if v in verdicts)


def cells(row: Row) -> tuple[str, ...]:
    """A row of text."""
    error = "" if row.error is None else f"{row.error:.1g}"
    difference = "" if row.difference is None else f"{row.difference:+.2g}"
    figures = number(row.ours), error, number(row.theirs), difference
    return row.what, *figures, row.criterion, row.verdict


def show(block: Block, console: Console) -> None:
    """A table on the terminal."""
    kept = [c for c in COLUMNS if c != "criterion" or console.width >= WIDE]
    table = Table(*kept, title=f"{block.name}: {block.counts()}  ({block.seconds:.0f} s)")
    for row in block.rows:
        texts = dict(zip(COLUMNS, cells(row), strict=True))
        texts["verdict"] = f"[{COLOURS[row.verdict]}]{row.verdict}[/]"
        table.add_row(*(texts[c] for c in kept))
    console.print(table)


def write(blocks: list[Block], command: str, path: Path) -> None:
    """`path`, and beside it the same with the suffix .md."""
    setting = {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu": _cpu(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"setting": setting, "blocks": [_plain(block) for block in blocks]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(_markdown(blocks, setting), encoding="utf-8")


def _plain(block: Block) -> dict[str, Any]:
    rows = [{**asdict(r), "difference": r.difference, "verdict": r.verdict} for r in block.rows]
    return {**asdict(block), "seconds": round(block.seconds), "rows": rows}


def _markdown(blocks: list[Block], setting: dict[str, Any]) -> str:
    lines = ["# Published figures, ours beside theirs", ""]
    lines += [f"- {key}: {value}" for key, value in setting.items()]
    for block in blocks:
        lines += ["", f"## {block.name}", "", block.about, "", f"{block.counts()}.", ""]
        lines += [_line(COLUMNS), _line("---" for _ in COLUMNS)]
        lines += [_line(cells(row)) for row in block.rows]
    return "\n".join(lines) + "\n"


def _line(texts: Any) -> str:
    return "| " + " | ".join(texts) + " |"


def _cpu() -> str:
    """The processor's model, if the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
