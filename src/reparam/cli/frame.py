"""What every command stands in: the console, exit statuses, errors as one line."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import Parameter
from rich.console import Console

console = Console(highlight=False)
RANK = int(os.environ.get("RANK", "0"))
LOCAL_RANK = int(os.environ.get("LOCAL_RANK", "0"))
WORLD_SIZE = int(os.environ.get("WORLD_SIZE", "1"))

Debug = Annotated[
    bool, Parameter(name="--debug", negative="", help="Show the traceback of an error.")
]


class Stage:
    """How far the command has come: what fails early is a bad argument, later the work."""

    status = 2

    def begun(self) -> None:
        """The arguments were good."""
        self.status = 1


@contextmanager
def reported(debug: bool) -> Iterator[Stage]:
    """Errors as one line and an exit status."""
    stage = Stage()
    try:
        yield stage
    except Exception as error:
        if debug:
            raise
        from reparam.data import DataError  # noqa: PLC0415 (torch takes a second)
        from reparam.training.distributed import ProcessError  # noqa: PLC0415

        if isinstance(error, ProcessError):
            fail(str(error), 1, alone=True)
        if isinstance(error, DataError):
            fail(str(error), 1)
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            fail(f"expected less work at a time, got out of memory: {error}; ask for less", 1)
        if isinstance(error, ValueError | TypeError | OSError | ImportError | RuntimeError):
            fail(str(error), stage.status)
        fail(f"unexpected {type(error).__name__}: {error}; --debug shows where", 1)


def fail(message: str, status: int, *, alone: bool = False) -> NoReturn:
    """End the program with one line on stderr.

    alone: no other process of the run says it; else the first of each machine does.
    """
    if alone or LOCAL_RANK == 0:
        print(f"reparam: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    raise SystemExit(status)


@contextmanager
def bar(stage: Stage) -> Iterator[Callable[[int, int], None]]:
    """Rows done, of all; the work has begun with the first word of it."""
    from rich.progress import Progress  # noqa: PLC0415 (help needs none)

    with Progress(console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("truth", total=None)

        def progress(done: int, total: int) -> None:
            stage.begun()
            shown.update(task, description="trials", completed=done, total=total)

        try:
            yield progress
        except KeyboardInterrupt:
            fail("stopped; nothing was written", 130)


def make(out: Path) -> None:
    """Make the folder that --out names."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"--out: expected a folder that can be made, got {out} ({error.strerror})"
        ) from None
