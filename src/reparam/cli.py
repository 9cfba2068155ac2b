"""The command line: parse, call, print; no mathematics.

Exit status: 0 done, 1 the work failed, 2 bad arguments, 130 interrupted (a checkpoint is left).
"""

import itertools
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from reparam import __version__
from reparam.training.settings import DiscreteVaeSettings, Settings, VaeSettings

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


@train.command(name="discrete-vae")
def discrete_vae(
    settings: Annotated[DiscreteVaeSettings, Parameter(name="*")] = DiscreteVaeSettings(),  # noqa: B008
    *,
    out: Out = None,
    resume: Resume = False,
    debug: Debug = False,
) -> None:
    """Train a VAE with a categorical latent."""
    _train("discrete-vae", settings, out, resume, debug)


@train.command(name="vae")
def vae(
    settings: Annotated[VaeSettings, Parameter(name="*")] = VaeSettings(),  # noqa: B008
    *,
    out: Out = None,
    resume: Resume = False,
    debug: Debug = False,
) -> None:
    """Train a VAE with a Gaussian latent."""
    _train("vae", settings, out, resume, debug)


def _train(model: str, settings: Settings, out: Path | None, resume: bool, debug: bool) -> None:
    with _reported(debug) as stage:
        from reparam.report.vae import write_report  # noqa: PLC0415
        from reparam.training.folder import RunFolder  # noqa: PLC0415 (torch takes a second)
        from reparam.training.run import prepared, run  # noqa: PLC0415

        folder = RunFolder(_place(model, out, resume))
        settings = folder.agreed(settings) if resume else settings
        task, images = prepared(settings)
        if not resume and RANK == 0:
            folder.create(settings)
        stage.begun(folder.path)
        final = run(settings, task, images, folder, console)
        if RANK == 0:
            bounds = "  ".join(f"{name} {value:.2f}" for name, value in final.items())
            console.print(f"done  test  {bounds}")
            console.print(f"report: {write_report(task, images, folder)}", soft_wrap=True)


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

    def begun(self, folder: Path) -> None:
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
