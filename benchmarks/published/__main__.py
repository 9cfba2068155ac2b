"""Recompute published figures and print ours beside theirs.

python -m benchmarks.published [block ...] [--quick] [--out FILE.json] [--mnist FOLDER]
"""

import argparse
import sys
import time
from collections.abc import Callable
from difflib import get_close_matches
from inspect import getdoc
from pathlib import Path
from types import ModuleType

import torch
from benchmarks.published import (
    bernoulli,
    eight_categories,
    gaussian,
    jang,
    polynomial,
    rebar,
    straight_through,
    structured,
    variance,
)
from benchmarks.published.options import Options
from benchmarks.published.report import Block, show, write
from rich.console import Console

from reparam.data import DataError

BLOCKS: dict[str, ModuleType] = {
    "straight-through": straight_through,
    "polynomial": polynomial,
    "bernoulli": bernoulli,
    "eight-categories": eight_categories,
    "gaussian": gaussian,
    "rebar": rebar,
    "jang": jang,
    "structured": structured,
    "variance": variance,
}
MNIST = Path("../shared/data/mnist")


def block_name(given: str) -> str:
    """A known block, or an error that lists them."""
    if given in BLOCKS:
        return given
    near = get_close_matches(given, BLOCKS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise argparse.ArgumentTypeError(f"expected one of {', '.join(BLOCKS)}; got {given!r}{hint}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        "python -m benchmarks.published", description="Published figures, ours beside theirs."
    )
    made.add_argument("blocks", nargs="*", type=block_name, metavar="block", help="all if none")
    made.add_argument("--quick", action="store_true", help="small samples, short runs")
    made.add_argument("--out", type=Path, metavar="FILE.json", help="results; a .md goes beside")
    made.add_argument("--mnist", type=Path, metavar="FOLDER", help="IDX files; else downloaded")
    made.add_argument(
        "--epochs", type=int, choices=range(1, 5), default=4, help="of the block rebar"
    )
    return made


def run(name: str, options: Options) -> Block:
    """One block, timed."""
    start = time.perf_counter()
    block: Callable[[Options], list] = BLOCKS[name].run
    rows = block(options)
    return Block(name, getdoc(BLOCKS[name]) or "", time.perf_counter() - start, rows)


def main(arguments: list[str]) -> int:
    """The program; 0 also where figures differ: it reports, it does not judge."""
    given = parser().parse_args(arguments)
    torch.set_num_threads(1)
    mnist = given.mnist or (MNIST if MNIST.exists() else None)
    options = Options(quick=given.quick, mnist=mnist, epochs=given.epochs)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 180)
    blocks: list[Block] = []
    for name in given.blocks or BLOCKS:
        try:
            blocks.append(run(name, options))
        except (DataError, FileNotFoundError, ImportError) as error:
            console.print(f"{name}: {error}")
            return 1
        show(blocks[-1], console)
        if given.out:
            write(blocks, _command(given), given.out)
    return 0


def _command(given: argparse.Namespace) -> str:
    """The command again, without this machine's paths."""
    words = ["python -m benchmarks.published", *given.blocks, *["--quick"] * given.quick]
    return " ".join([*words, f"--epochs {given.epochs}"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
