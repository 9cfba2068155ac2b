"""What every block is given."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from reparam.data import Images, load

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """quick: small samples and short runs. mnist: a folder of IDX files; None downloads.

    epochs: of the REBAR log, 1 to 4.
    """

    quick: bool = False
    mnist: Path | None = None
    epochs: int = 4
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    def steps(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        """`items` with a bar on a terminal, or one line at the end elsewhere."""
        start = time.perf_counter()
        bar = not self.console.is_terminal
        yield from track(
            items, what, total=total, console=self.console, transient=True, disable=bar
        )
        if bar:
            self.console.print(f"  {what}: {time.perf_counter() - start:.0f} s")

    def images(self) -> Images:
        """MNIST, each pixel drawn once as Bernoulli(intensity) with seed 0."""
        return load(self.mnist or "mnist", binarize="static", seed=0)
