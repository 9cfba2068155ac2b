"""What the vital signs of a run cost, as a share of its training time.

python -m benchmarks.monitor [--out DIR] [--rounds 9]

A look at the vital signs and the hundred steps between two looks are timed in turn, on random
images of MNIST's size, by the models' defaults, on one CPU thread in processor time. The overhead
is the median over rounds of their ratio. --out writes monitor.json and monitor.md.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from reparam.data import Images
from reparam.recipes.vae.settings import DiscreteVaeSettings, VaeSettings
from reparam.recipes.vae.task import vae_task
from reparam.training.distributed import World
from reparam.training.folder import RunFolder
from reparam.training.loop import PROBE_EVERY, Run, planned_steps
from reparam.training.metrics import MetricsLog
from reparam.training.progress import Progress

RUNS = {
    "vae": VaeSettings(epochs=100),
    "discrete-vae": DiscreteVaeSettings(epochs=100),
    "discrete-vae, gumbel-softmax": DiscreteVaeSettings(epochs=100, estimator="gumbel-softmax"),
    "discrete-vae, rloo of 4": DiscreteVaeSettings(epochs=100, estimator="rloo", samples=4),
}


def contest(name: str, rounds: int, folder: Path) -> dict[str, Any]:
    """The milliseconds of a step and of a look, and the share of looks."""
    settings = RUNS[name]
    generator = torch.Generator().manual_seed(0)
    train = torch.rand(50 * settings.batch, 1, 28, 28, generator=generator)
    data = Images("random", train, train[: settings.batch], redraw=True)
    task = vae_task(settings, data, planned_steps(settings, data)[1])
    run = Run(task, data, settings, RunFolder(folder), World(0, 1, torch.device("cpu")))
    with Progress(Console(file=io.StringIO()), quiet=True) as progress:
        log = MetricsLog(run.folder, run.world, {}, progress.warning)
        chosen = next(run.batches())
        timed = [_round(run, chosen, log, progress) for _ in range(rounds + 1)][1:]
    steps, looks = (statistics.median(column) for column in zip(*timed, strict=True))
    share = statistics.median(look / (PROBE_EVERY * step + look) for step, look in timed)
    return {"run": name, "step_ms": 1e3 * steps, "look_ms": 1e3 * looks, "overhead": share}


def _round(
    run: Run, chosen: torch.Tensor, log: MetricsLog, progress: Progress
) -> tuple[float, float]:
    """Seconds of a step, and of a look."""
    start = time.process_time()
    for _ in range(PROBE_EVERY):
        run.take(run.task, chosen, log)
    middle = time.process_time()
    run.examine(chosen, log, progress)
    return (middle - start) / PROBE_EVERY, time.process_time() - middle


def table(rows: list[dict[str, Any]]) -> str:
    """For people."""
    lines = ["| run | step, ms | look, ms | overhead |", "|---|---|---|---|"]
    lines += [
        f"| {r['run']} | {r['step_ms']:.1f} | {r['look_ms']:.1f} | {r['overhead']:.1%} |"
        for r in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = [contest(name, given.rounds, Path(folder)) for name in RUNS]
    print(table(rows))
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        setting = {"torch": torch.__version__, "threads": 1, "every": PROBE_EVERY}
        text = json.dumps({"setting": setting, "rows": rows}, indent=1) + "\n"
        (given.out / "monitor.json").write_text(text)
        (given.out / "monitor.md").write_text(
            f"# What watching costs\n\ntorch {torch.__version__}, one CPU thread; a look every "
            f"{PROBE_EVERY} steps. `python -m benchmarks.monitor`\n\n{table(rows)}\n"
        )


if __name__ == "__main__":
    main()
