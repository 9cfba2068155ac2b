"""Runs so small that many fit into a minute: their images, their options, the program itself."""

import io
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from data_cases import idx
from reparam import cli
from reparam.data import Images
from reparam.recipes import MODELS
from reparam.recipes.vae.task import vae_task
from reparam.training.data import Batch
from reparam.training.distributed import World
from reparam.training.folder import RunFolder
from reparam.training.loop import Run, planned_steps
from reparam.training.progress import Progress
from reparam.training.settings import Settings
from reparam.training.task import Step

DEADLINE = 90.0
"""Seconds for anything that another process should do at once."""
SMALL = {"epochs": 2, "batch": 16, "hidden": 16, "latents": 3, "log_every": 1, "iw_samples": 3}
"""Settings of the models of images."""
TINY = {
    "discrete-vae": {**SMALL, "classes": 4},
    "jigsaw": {"epochs": 2, "batch": 16, "hidden": 16, "side": 2, "log_every": 1},
    "l0": {"epochs": 2, "batch": 16, "log_every": 1},
    "router": {"epochs": 2, "batch": 16, "hidden": 16, "experts": 3, "log_every": 1},
    "select": {"epochs": 2, "batch": 16, "hidden": 16, "k": 5, "log_every": 1},
    "sort": {"epochs": 2, "batch": 16, "hidden": 16, "sequences": 48, "n": 3, "log_every": 1},
    "topics": {"epochs": 2, "batch": 16, "hidden": 16, "topics": 3, "log_every": 1, "max_share": 1},
    "vae": SMALL,
}
THEMES = (
    "acorn ash bark birch branch elm forest leaf oak pine",
    "anchor boat captain deck harbour mast ocean sail ship wave",
)
ALONE = World(0, 1, torch.device("cpu"))


def pictures(count: int, *shape: int, seed: int = 0) -> Tensor:
    """Two kinds of images, bright above or bright below, `(count, *shape)` with grey noise."""
    noise = torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))
    kind = (torch.arange(count) % 2).reshape(-1, *[1] * len(shape))
    above = (torch.arange(shape[-2]) < shape[-2] / 2).float().reshape(-1, 1)
    return 0.1 * noise + 0.8 * (kind * above + (1 - kind) * (1 - above))


def images(train: int = 48, test: int = 8, shape: tuple[int, int, int] = (1, 8, 8)) -> Images:
    """A training and a test set, pixels redrawn at every visit."""
    return Images("tiny", pictures(train, *shape), pictures(test, *shape, seed=1), redraw=True)


def write_images(path: Path, *, count: int = 64, shape: tuple[int, ...] = (8, 8)) -> Path:
    """The same as a file of bytes, of which a tenth will be held out."""
    np.save(path, (pictures(count, *shape) * 255).byte().numpy())
    return path


def write_documents(path: Path, *, count: int = 64) -> Path:
    """Two kinds of documents, a line each, of five words of one theme: a tenth is held out."""
    with path.open("w") as file:
        for number in range(count):
            words = THEMES[number % 2].split()
            print(*(words[(number * 7 // 2 + step**2) % 10] for step in range(1, 6)), file=file)
    return path


def write_labelled(folder: Path, *, train: int = 40, test: int = 12) -> Path:
    """The same as IDX files, image i with the label i modulo two."""
    folder.mkdir(exist_ok=True)
    for prefix, count in (("train", train), ("t10k", test)):
        values = (pictures(count, 8, 8) * 255).byte()
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(values))
        labels = (torch.arange(count) % 2).byte()
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels, b"\0\0\x08\x01"))
    return folder


def write_data(model: str, folder: Path) -> Path:
    """What the model can be trained on."""
    if model == "topics":
        return write_documents(folder / "tiny.txt")
    if model in ("l0", "router", "sort"):
        return write_labelled(folder / "tiny")
    return write_images(folder / "tiny.npy")


def settings(model: str = "discrete-vae", **changed: Any) -> Settings:
    """Small settings."""
    return MODELS[model](**{**TINY[model], **changed})


def options(model: str = "discrete-vae", **changed: Any) -> list[str]:
    """The same for the command line, after `reparam`."""
    chosen = {**TINY[model], **changed}
    pairs = [("--" + name.replace("_", "-"), str(value)) for name, value in chosen.items()]
    return ["train", model, *(part for pair in pairs for part in pair)]


def make_run(path: Path, chosen: Settings, data: Images | None = None, world: World = ALONE) -> Run:
    """A run in a folder, not yet begun; its parameters are always the same."""
    data = data or images()
    path.mkdir(exist_ok=True, parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        task = vae_task(chosen, data, planned_steps(chosen, data)[1])
    return Run(task, data, chosen, RunFolder(path), world)


def step_of(batch: Batch, number: int = 0, seed: int = 0) -> Step:
    """The step of a process that sees all of a batch."""
    first = batch if isinstance(batch, Tensor) else batch[0]
    return Step(number, seed, torch.arange(len(first)))


def trained(run: Run) -> dict[str, float]:
    """Train to the end without a word; the final metrics."""
    console = Console(file=io.StringIO())
    with Progress(console, quiet=True) as progress:
        return run.train(progress)


@dataclass(frozen=True)
class Outcome:
    """What a command left."""

    status: int
    out: str
    err: str


def reparam(*arguments: object) -> Outcome:
    """The program in this process, which spares the seconds of importing torch."""
    argv = ["reparam", *map(str, arguments)]
    with (
        warnings.catch_warnings(),
        mock.patch.object(sys, "argv", argv),
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as err,
    ):
        warnings.filterwarnings("ignore", "Cyclopts application invoked without tokens")
        try:
            cli.main()
        except SystemExit as end:
            return Outcome(int(end.code or 0), out.getvalue(), err.getvalue())


def start(*command: object) -> subprocess.Popen[str]:
    """A process of its own, with this one's interpreter for a leading `python`."""
    return subprocess.Popen(  # noqa: S603 (our own program)
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finished(process: subprocess.Popen[str]) -> Outcome:
    """Wait for its end, but not for ever."""
    try:
        out, err = process.communicate(timeout=DEADLINE)
    except BaseException:
        process.terminate()  # a launcher then ends its workers, which it could not when killed
        process.communicate(timeout=DEADLINE)
        raise
    return Outcome(process.returncode, out, err)


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for a condition while the process lives, until the deadline."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert process.poll() is None, finished(process)
        if time.monotonic() > end:
            process.terminate()
            raise AssertionError(finished(process))
        time.sleep(0.005)


def records(path: Path, **having: Any) -> list[dict[str, Any]]:
    """The records of a run folder that have these values."""
    if not (path / "metrics.jsonl").exists():
        return []
    found = list(RunFolder(path).records())
    return [r for r in found if all(r.get(k) == v for k, v in having.items())]


def last_step(path: Path) -> int:
    """The step of the last whole record."""
    return max((r["step"] for r in records(path)), default=0)


def config(path: Path) -> dict[str, Any]:
    """The settings as a run folder holds them."""
    values: dict[str, Any] = json.loads((path / "config.json").read_text())
    return values


def checkpoint(path: Path) -> dict[str, Any]:
    """What the last checkpoint holds."""
    state: dict[str, Any] = torch.load(path / "checkpoint.pt")
    return state


def equal(first: Any, second: Any) -> bool:
    """Whether two checkpoints hold the same, tensors bit for bit."""
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return bool(first == second)
