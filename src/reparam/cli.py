"""The command line: parse, call, print; no mathematics.

Exit status: 0 done, 1 the work failed, 2 bad arguments, 130 interrupted (a checkpoint is left).
"""

import itertools
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from reparam import __version__
from reparam.recipes import MODELS
from reparam.training.settings import Settings

app = App(
    name="reparam",
    help="Train through randomness: every way to differentiate an expectation.",
    version=f"reparam {__version__}",
    help_format="markdown",
    suppress_keyboard_interrupt=False,
)
train = App(name="train", help="Train a model into a run folder.", help_format="markdown")
app.command(train)
console = Console(highlight=False)
RANK = int(os.environ.get("RANK", "0"))
WORLD_SIZE = int(os.environ.get("WORLD_SIZE", "1"))

Out = Annotated[
    Path | None,
    Parameter(name="--out", help="Run folder to make; by default a new one under runs/."),
]
Resume = Annotated[
    bool,
    Parameter(
        name="--resume", negative="", help="Continue the run in --out as its config.json says."
    ),
]
Debug = Annotated[
    bool, Parameter(name="--debug", negative="", help="Show the traceback of an error.")
]


@app.command(name="list")
def list_estimators() -> None:
    """Show the estimators: their claims, fields and references."""
    from reparam.report.listing import listing  # noqa: PLC0415 (torch takes a second)

    console.print(listing())


@app.command
def compare(
    *estimators: str,
    problem: Annotated[str, Parameter(name="--problem")],
    n: Annotated[str, Parameter(name="--n")] = "1,4,16",
    trials: int = 1000,
    seed: int = 0,
    jobs: int = 1,
    out: Annotated[Path | None, Parameter(name="--out")] = None,
    debug: Debug = False,
) -> None:
    """Measure the gradients of estimators on a problem: bias, variance, error, time, memory.

    Parameters
    ----------
    estimators
        Names of `reparam list`, with their fields; by default all that serve.
    problem
        A reference problem, such as categorical8, or FILE.py:NAME, something with q and cost.
    n
        Samples of a draw: a number, or several with commas.
    trials
        Independent gradients of each.
    seed
        Of all trials.
    jobs
        Processes to share the work.
    out
        Folder for a report and its figures; by default they are only printed.
    """
    with _reported(debug) as stage:
        from reparam.diagnostics.lookup import counted, posed, serving  # noqa: PLC0415 (torch)

        subject = posed(problem)
        chosen = estimators or serving(subject.q)
        if out is not None:
            _make(out)
        with _bar(stage, out) as progress:
            found = subject.compare(
                chosen, counted(n), trials=trials, seed=seed, jobs=jobs, progress=progress
            )
        console.print(found.table(), soft_wrap=True, markup=False)
        if found.advice:
            console.print(f"\n{found.advice}", soft_wrap=True, markup=False)
        if out is not None:
            console.print(f"report: {found.save(out / 'compare.html')}", soft_wrap=True)


@contextmanager
def _bar(stage: "_Stage", out: Path | None) -> Iterator[Callable[[int, int], None]]:
    """Rows done, of all; the work has begun with the first word of it."""
    from rich.progress import Progress  # noqa: PLC0415 (help needs none)

    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("truth", total=None)

        def progress(done: int, total: int) -> None:
            stage.begun(out)
            bar.update(task, description="trials", completed=done, total=total)

        try:
            yield progress
        except KeyboardInterrupt:
            _fail("stopped; nothing was written", 130)


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"--out: expected a folder that can be made, got {out} ({error.strerror})"
        ) from None


@app.command
def doctor(
    run: Path | None = None,
    *,
    check: Annotated[str | None, Parameter(name="--check")] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    debug: Debug = False,
) -> None:
    """Say what is wrong with a run or a sampler, by which numbers, why, and what to change.

    Exit status: 0 nothing found, 1 something found, 2 bad arguments.

    Parameters
    ----------
    run
        A run folder, finished or not, or a .jsonl or .csv file of metrics by step.
    check
        A straight-through sampler f(logits, tau=...) to examine: MODULE:FUNCTION or
        FILE.py:FUNCTION. It is imported and called.
    as_json
        Print JSON.
    """
    with _reported(debug):
        from reparam.diagnostics.doctor import examine, examine_function  # noqa: PLC0415 (torch)

        if (run is None) == (check is None):
            raise ValueError("doctor: expected a run folder or --check FUNCTION, one of them")
        found = examine_function(check) if check else examine(run or Path())
        text = json.dumps(found.asdict(), indent=2) if as_json else str(found)
        console.print(text, soft_wrap=True, markup=False)
    if not found.healthy:
        raise SystemExit(1)


def command(model: str, kind: type[Settings]) -> None:
    """`reparam train MODEL`, with the options of its settings."""

    def run(
        settings: Annotated[kind, Parameter(name="*")] = kind(),  # type: ignore[valid-type]  # noqa: B008
        *,
        out: Out = None,
        resume: Resume = False,
        debug: Debug = False,
    ) -> None:
        _train(model, settings, out, resume, debug)

    train.command(run, name=model, help=kind.__doc__)


for model, kind in MODELS.items():
    command(model, kind)


def _train(model: str, settings: Settings, out: Path | None, resume: bool, debug: bool) -> None:
    with _reported(debug) as stage:
        from reparam.recipes.config import agreed, to_dict  # noqa: PLC0415 (torch takes a second)
        from reparam.recipes.lookup import prepared, write_report  # noqa: PLC0415
        from reparam.training.folder import RunFolder  # noqa: PLC0415
        from reparam.training.run import run  # noqa: PLC0415

        folder = RunFolder(_place(model, out, resume))
        settings = agreed(folder, settings) if resume else settings
        task, data = prepared(settings)
        if not resume and RANK == 0:
            folder.create(to_dict(settings))
        stage.begun(folder.path)
        final = run(settings, task, data, folder, console)
        if RANK == 0:
            metrics = "  ".join(f"{name} {value:.2f}" for name, value in final.items())
            console.print(f"done  test  {metrics}")
            report = write_report(settings, task, data, folder)
            console.print(f"report: {report}", soft_wrap=True)


def _place(model: str, out: Path | None, resume: bool) -> Path:
    """The run folder: the one named, or the first free one under runs/."""
    if out is not None:
        return out
    if resume:
        raise ValueError("--resume: expected --out RUN, the folder to continue, got none")
    if WORLD_SIZE > 1:
        raise ValueError("--out: expected a folder for several processes to share, got none")
    names = (Path("runs") / f"{model}-{number}" for number in itertools.count(1))
    return next(path for path in names if not path.exists())


class _Stage:
    """How far the command has come: what fails early is a bad argument, later the work."""

    status = 2
    folder: Path | None = None

    def begun(self, folder: Path | None) -> None:
        """The arguments were good."""
        self.status, self.folder = 1, folder


@contextmanager
def _reported(debug: bool) -> Iterator[_Stage]:
    """Errors as one line and an exit status."""
    stage = _Stage()
    try:
        yield stage
    except Exception as error:
        if debug:
            raise
        from reparam.data import DataError  # noqa: PLC0415 (torch takes a second)
        from reparam.training.stop import Interrupted  # noqa: PLC0415

        if isinstance(error, Interrupted):
            _fail(f"{error}; continue with: {_again(stage.folder, sys.argv[1:])}", 130)
        if isinstance(error, DataError):
            _fail(str(error), 1)
        if isinstance(error, ValueError | TypeError | OSError | ImportError | RuntimeError):
            _fail(str(error), stage.status)
        raise


def _again(folder: Path | None, arguments: list[str]) -> str:
    """The command that continues a run, to paste into a shell."""
    named = any(a == "--out" or a.startswith("--out=") for a in arguments)
    place = [] if named else ["--out", str(folder)]
    kept = [a for a in arguments if a != "--resume"]
    return shlex.join(["reparam", *kept, *place, "--resume"])


def _fail(message: str, status: int) -> NoReturn:
    if RANK == 0:
        print(f"reparam: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    raise SystemExit(status)


def main() -> NoReturn:
    """The program."""
    try:
        app(exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        _fail(str(error), 2)
    except ValueError as error:  # of a settings class, while arguments are parsed
        if "--debug" in sys.argv:
            raise
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail("stopped at once; the last checkpoint is as it was", 130)
    raise SystemExit(0)
