"""Runs of several models in the processes of one launch, which spares the seconds of starting.

`torchrun ... tests/many_runs.py FOLDER [--half]` takes every case, in a folder of its name, to its
end or half-way there. Each process leaves the state that it has then.
"""

import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from reparam.baselines import BASELINES, Learned
from reparam.recipes.lookup import prepared
from reparam.training.distributed import World, world
from reparam.training.folder import RunFolder
from reparam.training.loop import Run
from reparam.training.progress import Progress
from tiny_runs import settings, write_data, write_images


@dataclass(frozen=True)
class Case:
    """A run of few steps, of batches and a test set that two processes cannot share evenly."""

    model: str
    options: dict[str, Any] = field(default_factory=dict)
    accumulate: int = 1


def by(estimator: str, accumulate: int = 1, **options: Any) -> Case:
    """A discrete VAE."""
    return Case("discrete-vae", {"estimator": estimator, "samples": 2, **options}, accumulate)


CASES = {
    "gaussian": Case("vae"),
    "straight-through": by("straight-through-gumbel-softmax"),
    "rloo": by("rloo"),
    "rebar": by("rebar"),
    "relax": by("relax"),
    "imle": by("imle"),
    "moving-average": by("score:baseline=moving-average"),
    "learned": by("score:baseline=learned"),
    "gates": Case("l0"),
    "pixels": Case("select", {"masks": 3, "tau": "linear:start=2,end=0.5"}),
    "sort": Case("sort", {"samples": 2, "n": 4}),
    "jigsaw": Case("jigsaw"),
    "router": Case("router", {"balance": 0.0, "estimator": "score:baseline=moving-average"}),
    "topics": Case("topics"),
    "half-precision": by("relax", precision="bf16"),
    "accumulated": by("score:baseline=moving-average", accumulate=3),
    "accumulated-rebar": by("rebar", accumulate=2),
    "accumulated-pixels": Case("select", {"tau": "linear:start=2,end=0.5"}, accumulate=2),
}


@contextmanager
def learned_baseline() -> Iterator[None]:
    """Within, `score:baseline=learned` has a network."""
    BASELINES["learned"] = lambda: Learned(torch.nn.Linear(12, 1))
    try:
        yield
    finally:
        del BASELINES["learned"]


def make(folder: Path, name: str, here: World, accumulate: int) -> Run:
    """The run of a case, not yet begun; its parameters and data are always the same."""
    case = CASES[name]
    place = RunFolder(folder / name)
    place.path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as own, learned_baseline():
        data = write_data(case.model, Path(own))
        if data.suffix == ".npy":
            write_images(data, count=70)
        chosen = settings(case.model, data=str(data), batch=15, **case.options)
        task, examples = prepared(chosen)
    return Run(task, examples, chosen, place, here, accumulate=accumulate)


def taken(run: Run, *, half: bool) -> None:
    """From its checkpoint to its end, or half-way there."""
    run.resume()
    if half:
        run.steps //= 2
    with Progress(Console(file=io.StringIO()), quiet=True) as progress:
        run.train(progress)
    run.save()
    torch.save(run.task.state_dict(), run.folder.path / f"process-{run.world.rank}.pt")


def main() -> None:
    """All cases, in this process as in the others."""
    torch.set_num_threads(1)
    folder, *half = sys.argv[1:]
    with world("cpu") as here:
        for name, case in CASES.items():
            taken(make(Path(folder), name, here, case.accumulate), half=bool(half))


if __name__ == "__main__":
    main()
