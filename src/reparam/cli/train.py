"""`reparam train MODEL`."""

import itertools
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, Group, Parameter

from reparam.cli.frame import RANK, WORLD_SIZE, Debug, Stage, console, fail, reported
from reparam.recipes import MODELS
from reparam.training.settings import Machines, Settings

RESTARTS = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
"""How often torchrun has started this process again, with the same command."""
SEVERAL = Group("Several processes")
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
Config = Annotated[
    Path | None,
    Parameter(
        name="--config",
        help="Take options that are not given here from a TOML file or a run's config.json.",
    ),
]
Tensorboard = Annotated[
    bool,
    Parameter(
        name="--tensorboard", negative="", help="Also write TensorBoard events into the run folder."
    ),
]
Tracker = Annotated[
    list[str] | None,
    Parameter(
        name="--tracker",
        negative="",
        help="FILE.py:NAME or MODULE:NAME of a hook that is given every record.",
    ),
]


def command(model: str, kind: type[Settings]) -> None:
    """`reparam train MODEL`, with the options of its settings."""

    def run(
        settings: Annotated[kind, Parameter(name="*")] = kind(),  # type: ignore[valid-type]  # noqa: B008
        *,
        machines: Annotated[Machines, Parameter(name="*", group=SEVERAL)] = Machines(),  # noqa: B008
        config: Config = None,
        out: Out = None,
        resume: Resume = False,
        tensorboard: Tensorboard = False,
        tracker: Tracker = None,
        debug: Debug = False,
    ) -> None:
        with reported(debug) as stage:
            if machines.processes > 1 and "WORLD_SIZE" not in os.environ:
                _launch(model, machines, out, resume, stage)
            named = hooks(tensorboard, tracker)
            _train(model, settings, machines, out, resume, hooks=named, stage=stage)

    train.command(run, name=model, help=kind.__doc__)


for model, kind in MODELS.items():
    command(model, kind)


def hooks(tensorboard: bool, tracker: list[str] | None) -> list[str]:
    """The names of what tracks a run, of the two options."""
    return [*(["tensorboard"] if tensorboard else []), *(tracker or [])]


def _launch(
    model: str, machines: Machines, out: Path | None, resume: bool, stage: Stage
) -> NoReturn:
    """Run this command in several processes."""
    # Else torch prints a page about each lost connection. It reads this when it is imported.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    from reparam.training.launch import Died, check_host, launch  # noqa: PLC0415

    if machines.nodes > 1 and out is None:
        raise ValueError("--out: expected a folder for several machines to share, got none")
    place = _place(model, out, resume)
    given = sys.argv[1:] if out else [*sys.argv[1:], "--out", str(place)]
    if machines.nodes > 1:
        check_host(machines)
        console.print(f"waiting for {machines.nodes} machines at {machines.rendezvous}")
    stage.begun()
    try:
        raise SystemExit(launch(machines, given))
    except Died as died:
        begun = (place / "config.json").exists()
        way = f"; continue from the last checkpoint with: {_again(place, given)}" if begun else ""
        fail(f"{died}{way}", 1)


def _train(
    model: str,
    settings: Settings,
    machines: Machines,
    out: Path | None,
    resume: bool,
    *,
    hooks: Sequence[str],
    stage: Stage,
) -> None:
    if machines.processes not in (1, WORLD_SIZE):
        raise ValueError(
            f"--devices, --nodes: expected the {WORLD_SIZE} processes that are started, or "
            f"neither, got {machines.processes}; leave them out under torchrun"
        )
    from reparam.recipes.config import agreed, to_dict  # noqa: PLC0415 (torch takes a second)
    from reparam.recipes.lookup import prepared, write_report  # noqa: PLC0415
    from reparam.recipes.tracking import trackers  # noqa: PLC0415
    from reparam.training.folder import RunFolder  # noqa: PLC0415
    from reparam.training.run import run  # noqa: PLC0415
    from reparam.training.stop import Interrupted  # noqa: PLC0415

    folder = RunFolder(_place(model, out, resume))
    resume = resume or (RESTARTS > 0 and folder.config.exists())
    settings = agreed(folder, settings) if resume else settings
    watching = trackers(hooks, settings, folder)
    task, data = prepared(settings)
    if not resume and RANK == 0:
        folder.create(to_dict(settings))
    stage.begun()
    try:
        final = run(
            *(settings, task, data, folder, console),
            accumulate=machines.accumulate,
            trackers=watching,
        )
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
