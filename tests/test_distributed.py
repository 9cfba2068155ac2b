"""Several processes: what each sees and draws, and whole runs that they share."""

import importlib
import os
import re
import shlex
import shutil
import signal
import socket
import sys
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch.distributions import Bernoulli, OneHotCategorical

import reparam as rp
from many_runs import CASES, make, taken
from reparam.baselines import Learned
from reparam.data import Images
from reparam.models import surrogate
from reparam.noise import fold_in
from reparam.recipes.config import to_dict
from reparam.training.averages import Averages
from reparam.training.buffers import Buffers
from reparam.training.distributed import World
from reparam.training.loop import NOISE, PIXELS, TEST, VITALS, Run
from tiny_runs import (
    ALONE,
    checkpoint,
    config,
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

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
MANY = {"batch": 4, "epochs": 40, "checkpoint_every": 7, "log_every": 5, "samples": 2}
MANY |= {"estimator": "score:baseline=moving-average"}
STEPS = 12 * 40

cli_train = importlib.import_module("reparam.cli.train")  # its package has a name like it

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
    return [make_run(tmp_path, settings(batch=15), numbered, world) for world in worlds]


def numbers(batch: torch.Tensor) -> list[int]:
    """Which images they are."""
    return (batch[:, 0, 0, 0] * 64).int().tolist()


@pytest.mark.parametrize(("accumulate", "sizes"), [(1, [8, 7]), (3, [3, 3, 2, 3, 2, 2])])
def test_processes_share_each_batch(accumulate, sizes, pair):
    """No image twice: together, and in parts, what one process would see."""
    chosen = next(pair[0].batches())
    assert torch.equal(chosen, next(pair[1].batches()))
    seen = []
    for run in pair:
        run.accumulate = accumulate
        seen += [numbers(run.seen(0, chosen, rows)) for rows in run.parts(chosen)]
    assert [len(part) for part in seen] == sizes
    assert sorted(chain(*seen)) == sorted(chosen.tolist())


def test_a_part_has_at_least_one_example(pair):
    """However many are asked for."""
    pair[1].accumulate = 99
    assert [len(rows) for rows in pair[1].parts(torch.arange(15))] == [1] * 7


def test_processes_share_the_test_set(pair):
    """Every held-out image is counted once; sizes may differ by one."""
    parts = [run.held_out() for run in pair]
    assert [len(part) for part, _ in parts] == [5, 4]
    for part, step in parts:
        assert numbers(part) == step.rows.tolist()


@pytest.mark.parametrize("purpose", [NOISE, TEST, VITALS])
def test_noise_belongs_to_the_example(purpose, pair):
    """Whichever process draws it, and in whatever part; that of the whole batch is the same."""
    alone = pair[0].at(3, purpose, torch.arange(15))
    for run in pair:
        rows = run.world.mine(15)
        step = run.at(3, purpose, rows)
        assert torch.equal(step.keys, alone.keys[rows])
        assert torch.equal(torch.rand(5, generator=step.generator), _rand(alone))
    assert len(set(alone.keys.tolist())) == 15


def _rand(step) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step.generator.initial_seed())
    return torch.rand(5, generator=generator)


def test_noise_differs_by_step_and_purpose(pair):
    """No two of a hundred steps, or purposes of a step, begin alike."""
    purposes = (PIXELS, NOISE, TEST, VITALS)
    keys = {pair[0].key(step, purpose) for step in range(25) for purpose in purposes}
    assert len(keys) == 100


def test_tests_are_weighted_by_the_share(pair, monkeypatch):
    """Five images of mean 1 and four of mean 10 have the mean 5, and what is derived is of it."""
    others = torch.tensor([4 * 10.0, 4.0])
    monkeypatch.setattr(World, "sum", lambda self, values: values + others)
    monkeypatch.setattr(pair[0].task, "derived", lambda means: {"twice": 2 * means["bound"]})
    assert pair[0].tested(lambda part, step: {"bound": 1.0}) == {"twice": 10.0}


def test_averages_are_over_examples(monkeypatch):
    """Eight of 15 with a mean of 3 and seven of 6, twice; a checkpoint is one of all processes."""
    average, first, second = Averages(), *(World(rank, 2, torch.device("cpu")) for rank in (0, 1))
    for _ in range(2):
        average.add({"kl": torch.tensor(3.0)}, 8 / 15)
        average.step()
    monkeypatch.setattr(World, "sum", lambda self, values: values + 2 * 6 * 7 / 15)
    expected = (3 * 8 + 6 * 7) / 15
    state = average.state_dict(first)
    assert (state["sums"]["kl"].item(), state["count"]) == (pytest.approx(2 * expected), 2)
    assert average.take(first) == {"kl": pytest.approx(expected)}
    assert average.sums == {}
    monkeypatch.undo()
    for world, sum_ in ((first, 2 * expected), (second, 0)):
        average.load_state_dict(state, world)
        assert (average.sums["kl"].item(), average.count) == (pytest.approx(sum_), 2)


def test_buffers_move_as_by_the_whole_batch():
    """By the mean of the parts, each of which found them as the step did; counts by one step."""
    module = torch.nn.Module()
    module.register_buffer("mean", torch.tensor([1.0, 2.0]))
    module.register_buffer("steps", torch.tensor(5))
    buffers, total = Buffers(module), torch.zeros(2, dtype=torch.float64)
    for share, to in ((0.25, 5.0), (0.75, 1.0)):
        buffers.restore()
        assert module.mean.tolist() == [1, 2]
        assert module.steps == 5
        module.mean, module.steps = torch.tensor([to, 2.0]), module.steps + 1
        total += share * torch.cat(buffers.moves())
    buffers.move(total)
    assert module.mean.tolist() == [1 + 0.25 * 4, 2]
    assert module.steps == 6


@pytest.mark.parametrize(
    ("estimator", "q"),
    [
        (rp.Rebar(), OneHotCategorical),
        (rp.Relax(surrogate(12)), OneHotCategorical),
        (rp.Score(Learned(torch.nn.Linear(12, 1))), OneHotCategorical),
        (rp.DoubleCv(alpha=0.3), Bernoulli),
    ],
    ids=["rebar", "relax", "learned", "double-cv"],
)
def test_control_variates_learn_from_parts_as_from_the_whole(estimator, q):
    """Gradients of parts, weighted by their rows, add up, those of the variance too."""
    generator = torch.Generator().manual_seed(0)
    logits, weights = (torch.randn(*s, generator=generator).double() for s in ((7, 3, 4), (3, 4)))
    keys = fold_in(0, torch.arange(7))
    for module in estimator.modules().values():
        module.double()

    def gradients(rows: slice) -> list[torch.Tensor]:
        own = logits[rows].clone().requires_grad_()
        law = torch.distributions.Independent(q(logits=own), 2 - len(q(logits=own).event_shape))
        draw = estimator.draw(law, 2, key=keys[rows])
        costs = ((draw.points - weights) ** 2).sum((-1, -2)).exp() / 1e4
        loss = draw.combine(costs).sum() / 7
        return list(torch.autograd.grad(loss, list(estimator.parameters())))

    whole, *parts = (gradients(rows) for rows in (slice(7), slice(4), slice(4, 7)))
    assert all(gradient.any() for gradient in whole)
    for all_, first, second in zip(whole, *parts, strict=True):
        torch.testing.assert_close(first + second, all_, rtol=1e-9, atol=0)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every case, by one process in `one`, by two and then by three in `more`."""
    folder = tmp_path_factory.mktemp("shared")
    program = Path(__file__).with_name("many_runs.py")
    for processes, half in ((2, ["--half"]), (3, [])):
        outcome = finished(start(*TORCHRUN, processes, program, folder / "more", *half))
        assert outcome.status == 0, outcome
    for name in CASES:
        taken(make(folder / "one", name, ALONE, 1), half=False)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_processes_follow_one_process(name, shared):
    """The same records to rounding, whoever shares the batches, in however many parts."""
    tolerance = 0.01 if name == "half-precision" else 1e-4
    # Rounding is all that there is of the one; the other is made of each part by itself.
    assert_alike(shared / "more" / name, shared / "one" / name, tolerance, "residual", "balance")


@pytest.mark.parametrize("name", CASES)
def test_processes_stay_together(name, shared):
    """Parameters, those of control variates and baselines included, are the same in each."""
    state = checkpoint(shared / "more" / name)["task"]
    for process in range(3):
        assert equal(dict(torch.load(shared / "more" / name / f"process-{process}.pt")), state)
    # A bias that no loss depends on follows rounding.
    if name not in ("sort", "jigsaw", "half-precision"):
        torch.testing.assert_close(
            dict(state), dict(checkpoint(shared / "one" / name)["task"]), rtol=1e-4, atol=1e-5
        )


def test_control_variates_learn(shared):
    """Those of the cases above have moved from where they began."""
    for name, parameter in (("rebar", "eta"), ("relax", "surrogate"), ("learned", "baseline")):
        begun = make(shared / "begun", name, ALONE, 1).task.state_dict()
        ended = checkpoint(shared / "more" / name)["task"]
        own = [key for key in begun if key.startswith("control.") and parameter in key]
        assert own
        assert not any(torch.equal(begun[key], ended[key]) for key in own if begun[key].any())


def assert_alike(one: Path, other: Path, tolerance: float, *but: str) -> None:
    """The same records, numbers to a relative tolerance."""
    pairs = list(zip(records(one), records(other), strict=True))
    assert len(pairs) > 5
    for first, second in pairs:
        assert first.keys() == second.keys()
        for name in first.keys() - set(but):
            exact = isinstance(first[name], str)
            assert first[name] == (
                second[name] if exact else pytest.approx(second[name], rel=tolerance)
            ), (name, first, second)


def arguments(folder: Path, name: str) -> list[str]:
    """Of a run in a folder beside its data."""
    return options(data=folder / "tiny.npy", out=folder / name, **MANY)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `run`, by two processes that torch's own launcher started."""
    folder = tmp_path_factory.mktemp("two")
    write_images(folder / "tiny.npy", count=54)
    outcome = finished(start(*TORCHRUN, 2, "-m", "reparam", *arguments(folder, "run")))
    assert outcome.status == 0, outcome
    assert outcome.out.count("report: ") == 1
    return folder


def test_two_processes_leave_one_set_of_files(two):
    """Each record once, and everything that one process leaves; nothing says that they were two."""
    assert sorted(p.name for p in (two / "run").iterdir()) == [
        *("checkpoint.pt", "config.json", "metrics.jsonl", "report.html")
    ]
    steps = [r["step"] for r in records(two / "run", split="train")]
    assert steps == sorted({*range(5, STEPS + 1, 5), *range(12, STEPS + 1, 12)})
    assert len(records(two / "run", final=True)) == 1
    assert records(two / "run")[-1]["bound"] > records(two / "run", split="test")[0]["bound"] + 1
    assert config(two / "run").keys() == to_dict(settings()).keys()


def test_a_baseline_is_kept_by_two_processes(two):
    """It has moved with every step, towards the costs of today."""
    state = checkpoint(two / "run")["task"]
    average = state["control.baseline.total"] / state["control.baseline.weight"]
    assert state["control.baseline.weight"].item() == pytest.approx(1 - 0.99**STEPS)
    nats = records(two / "run", final=True)[0]["reconstruction"]
    assert 0.5 * nats < average < 2 * nats


def test_one_process_continues_what_two_began(two):
    """The checkpoint is one of the model, not of the processes, and so is the final test."""
    shutil.copytree(two / "run", two / "one")
    outcome = reparam(*arguments(two, "one"), "--resume")
    assert outcome.status == 0, outcome
    assert equal(checkpoint(two / "one"), checkpoint(two / "run"))
    assert records(two / "one")[:-1] == records(two / "run")[:-1]
    assert_alike(two / "one", two / "run", 1e-6)


def workers(launcher: int) -> dict[str, int]:
    """The processes that a launcher has started, by their rank."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    found = {}
    for pid in children:
        rank = re.search(rb"\0RANK=(\d+)", Path(f"/proc/{pid}/environ").read_bytes())
        if rank:
            found[rank[1].decode()] = int(pid)
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")
def test_a_killed_process_ends_the_run_and_costs_nothing(two):
    """One line says which, and its command goes on from the last checkpoint to the same end."""
    process = start("-m", "reparam", *arguments(two, "cut"), "--devices", 2)
    until(lambda: last_step(two / "cut") > 20, process)
    os.kill(workers(process.pid)["1"], signal.SIGKILL)
    outcome = finished(process)
    said, _, command = outcome.err.partition(" with: ")
    expected = "reparam: process 1 of 2 was ended by SIGKILL (was memory short?); continue from the"
    assert (outcome.status, said) == (1, f"{expected} last checkpoint"), outcome
    assert command.count("\n") == 1
    assert 7 <= checkpoint(two / "cut")["step"] < STEPS
    outcome = finished(start("-m", *shlex.split(command)))
    assert outcome.status == 0, outcome
    assert equal(checkpoint(two / "cut"), checkpoint(two / "run"))
    assert_alike(two / "cut", two / "run", 1e-12)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")
def test_processes_do_not_outlive_their_launcher(two):
    """Killed, it can end nobody: they stop by themselves, and leave a checkpoint."""
    process = start("-m", "reparam", *arguments(two, "orphans"), "--devices", 2)
    until(lambda: last_step(two / "orphans") > 20, process)
    process.kill()
    outcome = finished(process)  # its output ends when theirs do
    reached = checkpoint(two / "orphans")["step"]
    assert reached < STEPS
    assert outcome.err.startswith(f"reparam: stopped after step {reached} of {STEPS}; continue ")


@pytest.mark.parametrize("launcher", [[*TORCHRUN, 2], []], ids=["torchrun", "own"])
def test_an_interrupt_leaves_a_checkpoint(launcher, two, tmp_path):
    """Of that very step, and one line that says how to go on."""
    shutil.copy(two / "tiny.npy", tmp_path)
    given = [*arguments(tmp_path, "run"), *([] if launcher else ["--devices", "2"])]
    process = start(*launcher, "-m", "reparam", *given)
    until(lambda: last_step(tmp_path / "run") > 20, process)
    process.send_signal(signal.SIGINT)
    outcome = finished(process)
    reached = checkpoint(tmp_path / "run")["step"]
    said = f"reparam: stopped after step {reached} of {STEPS}; continue with: "
    assert said + shlex.join(["reparam", *given, "--resume"]) in outcome.err
    if not launcher:
        assert (outcome.status, outcome.err.count("\n")) == (130, 1)


def test_an_error_of_one_process_is_said_once(tmp_path, monkeypatch):
    """By the process that has it; one that all have, by the first."""
    write_images(tmp_path / "tiny.npy", count=54)
    (tmp_path / "sitecustomize.py").write_text(BROKEN)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
        outcome = finished(start("-m", "reparam", *arguments(tmp_path, "run"), "--devices", 2))
    assert (outcome.status, outcome.err) == (1, "reparam: process 1: OSError: the disk is full\n")
    outcome = finished(start("-m", "reparam", *arguments(tmp_path, "run"), "--devices", 2))
    assert outcome.status == 2
    assert re.fullmatch(r"reparam: --out: expected a folder without a run, .*\n", outcome.err)


BROKEN = """
import os
if os.environ.get("RANK") == "1":
    from reparam.training.loop import Run
    def after(self, log, progress):
        if self.step == 3:
            raise OSError("the disk is full")
    Run.after = after
"""
"""Python runs this before the program."""


def test_a_run_that_torchrun_restarts_goes_on(tmp_path, monkeypatch):
    """With the same command, which without a restart would be refused."""
    given = options(data=write_images(tmp_path / "tiny.npy"), out=tmp_path / "run")
    monkeypatch.setattr(cli_train, "RESTARTS", 1)
    assert reparam(*given).status == 0  # it had not begun
    kept = records(tmp_path / "run")
    outcome = reparam(*given)
    assert (outcome.status, outcome.err) == (0, "")
    assert records(tmp_path / "run") == kept
    monkeypatch.undo()
    assert reparam(*given).status == 2


def test_machines_that_cannot_meet_are_told(tmp_path):
    """One line, though torch has pages to say of a port that is taken."""
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        place = f"localhost:{taken.getsockname()[1]}"
        given = ["--nodes", 2, "--node-rank", 0, "--rendezvous", place, "--out", tmp_path / "run"]
        outcome = finished(start("-m", "reparam", "train", "vae", *given))
    assert outcome.status == 1
    assert outcome.out == f"waiting for 2 machines at {place}\n"
    expected = f"reparam: --rendezvous: expected 2 machines to meet at {place} and to stay, got .*"
    assert re.fullmatch(f"{expected} already in use; see that .* open to the others\n", outcome.err)


@pytest.mark.parametrize("static", [True, False], ids=["static", "elastic"])
def test_two_machines_share_a_run(static, two, tmp_path):
    """Two launchers of one process each meet, and follow one process."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    given = options(data=two / "tiny.npy", estimator="rloo", epochs=2, batch=13, samples=2)
    together = ["--nodes", 2, "--rendezvous", f"localhost:{port}", "--out", tmp_path / "run"]
    machines = [
        start("-m", "reparam", *given, *together, *(["--node-rank", rank] if static else []))
        for rank in (0, 1)
    ]
    outcomes = [finished(machine) for machine in machines]
    assert [(outcome.status, outcome.err) for outcome in outcomes] == [(0, "")] * 2
    assert sum(outcome.out.count("report: ") for outcome in outcomes) == 1
    assert reparam(*given, "--out", tmp_path / "alone").status == 0
    assert_alike(tmp_path / "run", tmp_path / "alone", 1e-5)
