"""Two processes: what each sees and draws, and whole runs under torch's own launcher."""

import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch

from reparam.data import Images
from reparam.training.distributed import World
from reparam.training.loop import Run
from tiny_runs import (
    checkpoint,
    equal,
    finished,
    images,
    last_step,
    make_run,
    options,
    records,
    reparam,
    settings,
    start,
    until,
    write_images,
)

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
MANY = {"batch": 4, "epochs": 40, "checkpoint_every": 7, "log_every": 5, "samples": 2}
MANY |= {"estimator": "score:baseline=moving-average"}
STEPS = 12 * 40

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or sys.platform == "win32", reason="no gloo here"
)


@pytest.fixture
def pair(tmp_path: Path) -> list[Run]:
    """The runs of the two processes, of images that are numbered by a pixel."""
    data = images(train=48, test=9)
    data.train[:, 0, 0, 0] = torch.arange(48) / 64
    data.test[:, 0, 0, 0] = torch.arange(9) / 64
    numbered = Images("numbered", data.train, data.test)
    worlds = [World(rank, 2, torch.device("cpu")) for rank in (0, 1)]
    return [make_run(tmp_path, settings(), numbered, world) for world in worlds]


def numbers(batch: torch.Tensor) -> list[int]:
    """Which images they are."""
    return (batch[:, 0, 0, 0] * 64).int().tolist()


def test_processes_share_each_batch(pair, tmp_path):
    """Half each and no image twice: together what one process would see."""
    alone = make_run(tmp_path, settings(), pair[0].data)
    halves = [numbers(next(run.batches())[1]) for run in pair]
    assert [len(half) for half in halves] == [8, 8]
    assert sorted(halves[0] + halves[1]) == sorted(numbers(next(alone.batches())[1]))


def test_processes_share_the_test_set(pair):
    """Every held-out image is counted once; sizes may differ by one."""
    parts = [numbers(run.held_out()[0]) for run in pair]
    assert sorted(parts[0] + parts[1]) == list(range(9))
    assert abs(len(parts[0]) - len(parts[1])) == 1


@pytest.mark.parametrize("purpose", [0, 1, 2])
def test_processes_draw_different_noise(purpose, pair, tmp_path):
    """Pixels, samples and evaluations alike; the first draws what it would draw alone."""
    alone = make_run(tmp_path, settings(), pair[0].data)
    first, second, own = (
        torch.rand(9, generator=r.generator("cpu", purpose)) for r in [*pair, alone]
    )
    assert not torch.equal(first, second)
    assert torch.equal(first, own)


def test_noise_differs_by_step_and_purpose(pair):
    """No two of a hundred generators begin alike."""
    run, seen = pair[0], set()
    for run.step in range(33):
        seen |= {run.generator("cpu", purpose).initial_seed() for purpose in range(3)}
    assert len(seen) == 99


def test_means_are_weighted_by_the_share(pair, monkeypatch):
    """Five images of mean 1 and four of mean 10 have the mean 5, in every process."""
    monkeypatch.setattr(World, "sum", lambda self, values: values + torch.tensor([4.0, 40.0]))
    assert pair[0].reduced({"bound": 1.0}, weight=5) == {"bound": 5.0}


def test_a_checkpoint_holds_the_averages_of_all(pair, monkeypatch):
    """Sums of 3 and 5 are saved as 4, which every process then resumes with."""
    monkeypatch.setattr(World, "sum", lambda self, values: values.add_(5.0))
    averages = pair[0].averages
    averages.add({"kl": torch.tensor(3.0)})
    state = averages.state_dict(pair[0].world)
    assert (state["sums"]["kl"].item(), state["count"]) == (4.0, 1)
    assert averages.take() == {"kl": 3.0}


def arguments(folder: Path, name: str) -> list[str]:
    """Of a run in a folder beside its data."""
    return options(data=folder / "tiny.npy", out=folder / name, **MANY)


def launched(folder: Path, name: str, *more: str) -> None:
    """A run of two processes, to its end."""
    outcome = finished(start(*TORCHRUN, "-m", "reparam", *arguments(folder, name), *more))
    assert outcome.status == 0, outcome
    assert outcome.out.count("report: ") == 1


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `run`, by two processes."""
    folder = tmp_path_factory.mktemp("two")
    write_images(folder / "tiny.npy", count=54)
    launched(folder, "run")
    return folder


def test_two_processes_leave_one_set_of_files(two):
    """Each record once, and everything that one process leaves."""
    assert sorted(p.name for p in (two / "run").iterdir()) == [
        *("checkpoint.pt", "config.json", "metrics.jsonl", "report.html", "tensorboard")
    ]
    steps = [r["step"] for r in records(two / "run", split="train")]
    assert steps == sorted({*range(5, STEPS + 1, 5), *range(12, STEPS + 1, 12)})
    assert len(records(two / "run", final=True)) == 1
    assert records(two / "run")[-1]["bound"] > records(two / "run", split="test")[0]["bound"] + 1


def test_a_baseline_is_kept_by_two_processes(two):
    """It has moved with every step, towards the costs of today."""
    state = checkpoint(two / "run")["task"]
    average = state["control.baseline.total"] / state["control.baseline.weight"]
    assert state["control.baseline.weight"].item() == pytest.approx(1 - 0.99**STEPS)
    nats = records(two / "run", final=True)[0]["reconstruction"]
    assert 0.5 * nats < average < 2 * nats


def test_control_variates_learn_in_step(tmp_path):
    """REBAR's own parameters move, and one process goes on from where two have brought them."""
    write_images(tmp_path / "tiny.npy", count=54)
    few = {**MANY, "epochs": 2, "estimator": "rebar"}
    short = options(data=tmp_path / "tiny.npy", out=tmp_path / "rebar", **few)
    outcome = finished(start(*TORCHRUN, "-m", "reparam", *short))
    assert outcome.status == 0, outcome
    control = {k: v for k, v in checkpoint(tmp_path / "rebar")["task"].items() if "control" in k}
    assert control["control.control.eta"] != 1
    assert control["control.control.log_tau"] != torch.tensor(0.5).log()
    outcome = reparam(*short, "--resume")
    assert outcome.status == 0, outcome


def test_two_processes_resume_as_if_never_disturbed(two):
    """SIGINT to the launcher, a checkpoint in mid-run, and the same end after it."""
    process = start(*TORCHRUN, "-m", "reparam", *arguments(two, "cut"))
    until(lambda: last_step(two / "cut") > 20, process)
    process.send_signal(signal.SIGINT)
    outcome = finished(process)
    reached = checkpoint(two / "cut")["step"]
    assert 20 < reached < STEPS
    assert f"reparam: stopped after step {reached} of {STEPS}; continue with: " in outcome.err
    launched(two, "cut", "--resume")
    assert equal(checkpoint(two / "cut"), checkpoint(two / "run"))
    for cut, whole in zip(records(two / "cut"), records(two / "run"), strict=True):
        assert cut.pop("split") == whole.pop("split")
        assert cut == (whole if "symptom" in cut else pytest.approx(whole, rel=1e-12))


def test_one_process_continues_what_two_began(two):
    """The checkpoint is one of the model, not of the processes."""
    shutil.copytree(two / "run", two / "one")
    outcome = reparam(*arguments(two, "one"), "--resume")
    assert outcome.status == 0, outcome
    assert equal(checkpoint(two / "one"), checkpoint(two / "run"))
    before, after = (records(two / name) for name in ("run", "one"))
    assert before[:-1] == after[:-1]
    assert after[-1]["bound"] == pytest.approx(before[-1]["bound"], abs=2)
