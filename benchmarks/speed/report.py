"""The rows as lines, a table and a picture."""

from pathlib import Path
from typing import Any

Row = dict[str, Any]
WAYS = {"pure torch": "#4477aa", "[fast]": "#ee7733"}
HEAD = (
    "| operation | shape | ours | to | ratio | range | ms | peak | its peak | floor |",
    "|---|---|---|---|---:|---|---:|---:|---:|---|",
)


def verdict(row: Row) -> str:
    """Whether what is promised was kept, in words."""
    speed = f"{row['floor']:g} {'held' if row['held'] else 'MISSED'}"
    if row["peak_held"]:
        return speed
    return f"{speed}; peak {row['ceiling']:g} MISSED"


def line(row: Row) -> str:
    """One row, as it is printed."""
    return (
        f"  {row['shape']!s:>16}  {row['ours']:10} to {row['standard']:24} {row['ratio']:6.2f}  "
        f"({row['lowest']:.2f} to {row['highest']:.2f})  peak {row['peak']:.1f} to "
        f"{row['standard_peak']:.1f}  floor {verdict(row)}"
    )


def summary(rows: list[Row]) -> str:
    """How many promises were kept."""
    kept = sum(row["held"] and row["peak_held"] for row in rows)
    return f"{kept} of {len(rows)} rows hold their floors"


def table(setting: dict[str, Any], rows: list[Row]) -> str:
    """The page, in Markdown."""
    known = ", ".join(f"{name} {value}" for name, value in setting.items() if value is not None)
    lines = [
        "# Speed and memory",
        "",
        "Ratio: the standard's time over ours, the median over rounds in which the sides took",
        "turns. Forward and backward, except where only indices are drawn. ms: ours. Peak: memory",
        "held at once, in float32 tensors of the input's size, beside the input and the gradient",
        "that arrives. Floor: the ratio promised.",
        "",
        f"{known}. {summary(rows)}.",
        "",
        *HEAD,
    ]
    for row in rows:
        shape = " x ".join(str(size) for size in row["shape"])
        lines.append(
            f"| {row['operation']} | {shape} | {row['ours']} | {row['standard']} "
            f"| {row['ratio']:.2f} | {row['lowest']:.2f} to {row['highest']:.2f} "
            f"| {row['milliseconds']:.3g} | {row['peak']:.1f} | {row['standard_peak']:.1f} "
            f"| {verdict(row)} |"
        )
    return "\n".join(lines) + "\n"


def against_first(rows: list[Row]) -> dict[str, dict[str, float]]:
    """By label: the ratios of our ways to the first standard, the one to beat."""
    found: dict[str, dict[str, float]] = {}
    first: dict[str, str] = {}
    for row in rows:
        shape = "x".join(str(size) for size in row["shape"])
        label = f"{row['operation']}  [{shape}]"
        if first.setdefault(label, row["standard"]) == row["standard"]:
            found.setdefault(label, {})[row["ours"]] = row["ratio"]
    return {f"{label}\nto {first[label]}": ways for label, ways in found.items()}


def draw(rows: list[Row], path: Path) -> bool:
    """Write the picture of the ratios; False, said in a line, where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (only a picture needs it)
    except ImportError:
        print("no picture: matplotlib is not installed: pip install matplotlib")
        return False
    labels = against_first(rows)
    figure = Figure(figsize=(9, 1.2 + 0.36 * len(labels)), layout="constrained")
    axes = figure.add_subplot()
    for shift, (way, color) in zip((-0.2, 0.2), WAYS.items(), strict=True):
        places = {
            i + (shift if len(ways) > 1 else 0): ways[way]
            for i, ways in enumerate(labels.values())
            if way in ways
        }
        lengths = [ratio - 1 for ratio in places.values()]
        bars = axes.barh(list(places), lengths, 0.38, left=1, color=color, label=way)
        axes.bar_label(bars, [f"{ratio:.2f}" for ratio in places.values()], padding=2, fontsize=7)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    ticks = [0.5, 1, 2, 5, 10, 20]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(labels)), list(labels), fontsize=7)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlabel("times as fast (1: the same), one CPU thread")
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    return True
