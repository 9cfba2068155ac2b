"""Speed and peak memory of each operation against the standard ones, in one process.

python -m benchmarks.run [--out DIR] [--rounds 9] [--quick] [--compile]

Float32, one CPU thread, processor time, freed memory kept. All sides of a comparison run in turn,
round by round, so that a busy machine slows all; a ratio is the median over rounds of the
standard's time over ours. Refuses to report while the tests of the same operations fail. Prints the
table as it grows; --out writes speed.json, speed.md and speed.png.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from benchmarks.memory import keep_freed
from benchmarks.speed import others, relaxed, training
from benchmarks.speed.measure import Contest, compare
from benchmarks.speed.report import draw, line, summary, table

GATE = [
    "tests/test_kernels.py",
    "tests/test_functional_sampling.py",
    "tests/test_indices.py",
    "tests/test_fast_extra.py",
    "tests/test_sinkhorn.py",
    "tests/test_topk.py",
    "tests/test_hard_concrete.py",
]
QUICK_ROUNDS = 3


def gate(tests: Sequence[str] = GATE) -> None:
    """Stop unless the operations pass their tests."""
    root = Path(__file__).resolve().parents[1]
    together = ["-n", "auto"] if find_spec("xdist") else []
    command = [sys.executable, "-m", "pytest", "-q", "-x", *together, *tests]
    if subprocess.run(command, cwd=root, check=False, capture_output=True).returncode:  # noqa: S603
        raise SystemExit(
            "benchmarks.run: expected the tests of the operations to pass, got failures; "
            f"run {' '.join(command[1:])}"
        )


def setting(rounds: int) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "torch": torch.__version__,
        "numba": _version("numba"),
        "cpu": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "date": datetime.now(UTC).date().isoformat(),
    }


def measured(contests: Sequence[Contest], rounds: int) -> list[dict[str, Any]]:
    """All rows, each printed as soon as it is there."""
    rows: list[dict[str, Any]] = []
    operation = ""
    for contest in contests:
        if contest.operation != operation:
            operation = contest.operation
            print(operation)
        fresh = compare(contest, rounds)
        print("\n".join(map(line, fresh)), flush=True)
        rows += fresh
    print(summary(rows))
    return rows


def write(rows: list[dict[str, Any]], setting: dict[str, Any], folder: Path) -> None:
    """The three files."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**setting, "rows": rows}, indent=2) + "\n"
    (folder / "speed.json").write_text(text, encoding="utf-8")
    (folder / "speed.md").write_text(table(setting, rows), encoding="utf-8")
    draw(rows, folder / "speed.png")


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the results there")
    parser.add_argument("--rounds", type=int, help=f"9, or {QUICK_ROUNDS} if quick")
    parser.add_argument("--quick", action="store_true", help="few rounds and shapes, torch alone")
    parser.add_argument("--compile", action="store_true", help="torch.compile(F) too: minutes more")
    options = parser.parse_args()
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else 9)
    gate()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the memory profiler announces itself
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed()
    contests = relaxed.contests(options.quick, options.compile)
    rows = measured([*contests, *others.contests(), *training.contests()], rounds)
    if options.out:
        write(rows, setting(rounds), options.out)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
