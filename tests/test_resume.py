"""Runs that are cut short, as processes of their own: resumed, they end as if never disturbed."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tiny_runs import (
    checkpoint,
    equal,
    finished,
    last_step,
    make_run,
    options,
    records,
    reparam,
    settings,
    start,
    trained,
    until,
    write_images,
)

STEPS_PER_EPOCH, EPOCHS = 12, 40
LONG = {"batch": 4, "epochs": EPOCHS, "checkpoint_every": 7, "log_every": 5, "samples": 2}
WAYS = {
    "kill": {"estimator": "score:baseline=moving-average", "kl_weight": "linear:start=0,end=1"},
    "interrupt": {"estimator": "gumbel-softmax", "free_bits": 0.1},
}
"""Between them: a baseline's state, both schedules, and sums between two records."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data, and for each way the run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_images(folder / "tiny.npy", count=54)
    for name in WAYS:
        outcome = reparam(*arguments(folder, name, folder / name))
        assert outcome.status == 0, outcome
    return folder


def arguments(folder: Path, name: str, out: Path) -> list[str]:
    """Of a run of many steps."""
    return options(data=folder / "tiny.npy", out=out, **LONG, **WAYS[name])


def assert_same(first: Path, second: Path) -> None:
    """Metrics byte for byte, parameters and optimizer bit for bit."""
    assert (first / "metrics.jsonl").read_bytes() == (second / "metrics.jsonl").read_bytes()
    assert equal(checkpoint(first), checkpoint(second))


def hold(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Stop the process where a condition holds, which then cannot cease to hold."""

    def held() -> bool:
        process.send_signal(signal.SIGSTOP)
        if condition():
            return True
        process.send_signal(signal.SIGCONT)
        return False

    until(held, process)


def between_checkpoints(out: Path) -> bool:
    """Whether a crash now loses records, and the checkpoint is in mid-epoch and mid-record."""
    if not (out / "checkpoint.pt").exists():
        return False
    step = checkpoint(out)["step"]
    return bool(step % STEPS_PER_EPOCH and step % LONG["log_every"] and last_step(out) > step)


def test_a_killed_run_resumes_bit_for_bit(undisturbed, tmp_path):
    """SIGKILL in mid-epoch, records beyond the checkpoint, half a line: the end is the same."""
    out = tmp_path / "run"
    given = arguments(undisturbed, "kill", out)
    process = start("-m", "reparam", *given)
    hold(process, lambda: between_checkpoints(out))
    process.kill()
    assert finished(process).status == -signal.SIGKILL
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2')
    reached = checkpoint(out)["step"]
    assert 0 < reached < STEPS_PER_EPOCH * EPOCHS
    outcome = finished(start("-m", "reparam", *given, "--resume"))
    assert outcome.status == 0, outcome
    assert_same(out, undisturbed / "kill")


def test_an_interrupted_run_resumes_by_the_command_it_names(undisturbed, tmp_path):
    """SIGINT: status 130, a checkpoint of that very step, one line whose command works."""
    out = tmp_path / "a run"
    process = start("-m", "reparam", *arguments(undisturbed, "interrupt", out))
    hold(process, lambda: 0 < last_step(out) % STEPS_PER_EPOCH < 6)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    outcome = finished(process)
    assert outcome.status == 130, outcome
    step = checkpoint(out)["step"]
    assert step % STEPS_PER_EPOCH
    said, _, command = outcome.err.partition("; continue with: ")
    assert said == f"reparam: stopped after step {step} of {STEPS_PER_EPOCH * EPOCHS}"
    assert (command.count("\n"), shlex.split(command)[0]) == (1, "reparam")
    resumed = finished(start("-m", *shlex.split(command)))
    assert resumed.status == 0, resumed
    assert_same(out, undisturbed / "interrupt")


@pytest.mark.parametrize("name", WAYS)
def test_a_run_may_be_cut_after_any_step(name, tmp_path):
    """All steps of an epoch and a bit, of records every five: the end is the same."""
    chosen = settings(**{**LONG, **WAYS[name], "epochs": 2, "batch": 8})
    trained(make_run(tmp_path / "whole", chosen))
    for step in range(1, 9):
        first = make_run(tmp_path / str(step), chosen)
        first.steps = step
        trained(first)
        first.save()
        second = make_run(tmp_path / str(step), chosen)
        second.resume()
        trained(second)
        assert_same(tmp_path / str(step), tmp_path / "whole")


def test_the_installed_command_is_the_module():
    """`reparam` on the path is what `python -m reparam` is."""
    command = shutil.which("reparam", path=os.pathsep.join([str(Path(sys.executable).parent)]))
    if command is None:
        pytest.skip("reparam is not installed as a command here")
    said = finished(start(command, "train", "gan"))
    assert said == finished(start("-m", "reparam", "train", "gan"))
    assert said.status == 2


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """A short run that has ended, in `run`, beside its data."""
    write_images(tmp_path / "tiny.npy")
    assert reparam(*short(tmp_path)).status == 0
    return tmp_path


def short(folder: Path) -> list[str]:
    """Its arguments."""
    return options(data=folder / "tiny.npy", out=folder / "run")


def test_a_finished_run_resumes_to_the_same_end(done):
    """Nothing is trained; the final record is written once more, the same."""
    shutil.copytree(done / "run", done / "before")
    assert reparam(*short(done), "--resume").status == 0
    assert_same(done / "run", done / "before")


def test_a_run_without_a_checkpoint_begins_anew(done):
    """Killed before the first checkpoint, there are only records, which are forgotten."""
    shutil.copytree(done / "run", done / "before")
    (done / "run" / "checkpoint.pt").unlink()
    assert reparam(*short(done), "--resume").status == 0
    assert_same(done / "run", done / "before")


def test_the_options_are_those_of_the_run(done):
    """None need be given, and the same may be; the run's own hold, not the defaults."""
    outcome = reparam("train", "discrete-vae", "--out", done / "run", "--resume")
    assert outcome.status == 0, outcome
    assert records(done / "run")[-1]["step"] == 6


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lr": 0.5}, "lr=0.001 (not 0.5)"),
        ({"epochs": 3, "seed": 1}, "epochs=2 (not 3), seed=0 (not 1)"),
        ({"data": "digits2"}, "(not digits2)"),
    ],
)
def test_other_options_are_refused(changed, said, done):
    """With the run's value and the one asked for; the run stays as it was."""
    before = (done / "run" / "metrics.jsonl").read_bytes()
    given = {"data": done / "tiny.npy", "out": done / "run", **changed}
    outcome = reparam(*options(**given), "--resume")
    assert outcome.status == 2
    assert said in outcome.err
    assert outcome.err.endswith("begin a new run to change them\n")
    assert (done / "run" / "metrics.jsonl").read_bytes() == before


def test_another_model_is_refused(done):
    """A discrete run is not continued as a continuous one."""
    outcome = reparam("train", "vae", "--out", done / "run", "--resume")
    assert outcome.status == 2
    assert "it has model=discrete-vae (not vae)" in outcome.err
