"""`reparam train MODEL`."""

import itertools
import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from reparam.cli.frame import RANK, WORLD_SIZE, Debug, console, fail, reported
from reparam.recipes import MODELS
from reparam.training.settings import Settings

train = App(name="train", help="Train a model into a run folder.", help_format="markdown")

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
    with reported(debug) as stage:
        from reparam.recipes.config import agreed, to_dict  # noqa: PLC0415 (torch takes a second)
        from reparam.recipes.lookup import prepared, write_report  # noqa: PLC0415
        from reparam.training.folder import RunFolder  # noqa: PLC0415
        from reparam.training.run import run  # noqa: PLC0415
        from reparam.training.stop import Interrupted  # noqa: PLC0415

        folder = RunFolder(_place(model, out, resume))
        settings = agreed(folder, settings) if resume else settings
        task, data = prepared(settings)
        if not resume and RANK == 0:
            folder.create(to_dict(settings))
        stage.begun()
        try:
            final = run(settings, task, data, folder, console)
        except Interrupted as stopped:
            fail(f"{stopped}; continue with: {_again(folder.path, sys.argv[1:])}", 130)
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


def _again(folder: Path, arguments: list[str]) -> str:
    """The command that continues a run, to paste into a shell."""
    named = any(a == "--out" or a.startswith("--out=") for a in arguments)
    place = [] if named else ["--out", str(folder)]
    kept = [a for a in arguments if a != "--resume"]
    return shlex.join(["reparam", *kept, *place, "--resume"])
