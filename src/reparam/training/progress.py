"""What a person sees while a run goes on: a bar on a terminal, a line an epoch elsewhere."""

from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar


class Progress:
    """Rate, time left, training means and test metrics. Silent in all processes but the first."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.console = console
        self.quiet = quiet
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self.text = ""

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def start(self, steps: int, done: int) -> None:
        """A run of `steps`, of which `done` are done."""
        self.id = self.bar.add_task("training", total=steps, completed=done, text="")

    def step(self, done: int, examples: int) -> None:
        """`done` steps are done; the last one took `examples`."""
        speed = self.bar.tasks[self.id].speed
        rate = f"{speed * examples:,.0f} examples/s  " if speed else ""
        self.bar.update(self.id, completed=done, text=rate + self.text)

    def training(self, means: dict[str, float]) -> None:
        """Means since the last record, and scheduled values."""
        self.text = _formatted(means)

    def warning(self, text: str) -> None:
        """Something is wrong with the run, though it goes on."""
        if not self.quiet:
            self.console.print(f"[yellow]warning[/yellow]  {escape(text)}", soft_wrap=True)

    def tested(self, epoch: int, means: dict[str, float]) -> None:
        """An epoch is over; its test metrics."""
        if not self.quiet:
            self.console.print(f"epoch {epoch:>3}  test  {_formatted(means)}", highlight=False)


def _formatted(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
