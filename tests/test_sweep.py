"""`reparam sweep`: plans, runs that are left, failures, places, and the summary."""

import csv
import json
import re
import signal
import time
from pathlib import Path
from statistics import mean, stdev
from types import SimpleNamespace

import pytest

from reparam.report.page import plot
from reparam.sweeps.plan import read_plan
from reparam.sweeps.summary import Cell, Figure, cells, table
from tiny_runs import DEADLINE, TINY, options, records, reparam, start, write_images

GRID = 'estimator = ["score", "rloo"]\nseed = [0, 1]\n'
FEW = 'estimator = ["score", "rloo"]\n'
KILLER = """
import os, signal
def hook(config):
    def write(record):
        if config["estimator"] == "rloo":
            os.kill(os.getpid(), signal.SIGKILL)
    return write
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with images in it."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "tiny.npy")
    return tmp_path


def toml(grid: str, more: str = "", **changed: object) -> Path:
    """A plan of tiny runs."""
    values = {"data": "tiny.npy", "samples": 2, **TINY["discrete-vae"], **changed}
    own = "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
    text = f'model = "discrete-vae"\n[options]\n{own}\n[grid]\n{grid}\n{more}'
    Path("plan.toml").write_text(text)
    return Path("plan.toml")


def test_a_plan_is_every_combination(here):
    """In the order of the file, the last option changing first; a single value is a list of one."""
    plan = read_plan(toml('estimator = ["score", "rloo"]\nlr = 0.5\nseed = [0, 1]'))
    got = [(run.estimator, run.lr, run.seed) for run in plan.runs]
    assert got == [(name, 0.5, seed) for name in ("score", "rloo") for seed in (0, 1)]
    names = [plan.cell(run) for run in plan.runs]
    assert names[::2] == names[1::2] == [{"estimator": e, "lr": 0.5} for e in ("score", "rloo")]
    assert plan.name(plan.runs[3]) == "estimator=rloo lr=0.5 seed=1"


def test_several_grids_follow_one_another(here):
    """For estimators that have a temperature, and others."""
    text = (
        toml("")
        .read_text()
        .replace(
            "[grid]",
            '[[grid]]\nestimator = "gumbel-softmax"\ntau = [0.5, 1]\n[[grid]]\nlr = [1e-4]',
        )
    )
    Path("plan.toml").write_text(text)
    plan = read_plan(Path("plan.toml"))
    assert [(run.tau, run.lr) for run in plan.runs] == [("0.5", 1e-3), ("1", 1e-3), ("auto", 1e-4)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "model: expected one of .*, got None"),
        ('model = "vae"\n[grids]', "table: expected one of .*, got 'grids'; did you mean 'grid'?"),
        ('model = "vae"\ngrid = 3', r"\[grid\]: expected a table, got 3"),
        ('model = "vae"\ngrid = []', r"\[grid\]: expected a table or several, got none"),
        ('model = "vae"\n[grid]\nseed = []', "seed: expected a value or several, got none"),
        ('model = "vae"\n[grid]\nsed = [1]', "got 'sed'; did you mean 'seed'?"),
        ('model = "vae"\n[grid]\nseed = [1, "b"]', "seed: expected an integer, got 'b'"),
        (
            'model = "vae"\n[grid]\nseed = [1, 1]',
            "runs that differ, got seed=1 twice",
        ),
        ('model = "vae"\n[grid]\nlr = [1, -1]', "lr=-1.0: --lr: expected a positive number"),
        ('model = "vae"\n[options]\nlr = 1\n[grid]\nlr = 2', "lr: expected it once"),
        ('model = "vae"\n[grid]\nestimator = ["rlo"]', "estimator=rlo: .*'rlo'.*mean 'rloo'?"),
        ('model = "vae"\n[options]\ndata = "absent.npy"', "absent.npy"),
    ],
)
def test_a_wrong_plan_is_refused(here, text, said):
    """In one line, before a folder is made."""
    Path("plan.toml").write_text(text)
    outcome = reparam("sweep", "plan.toml")
    assert outcome.status in (1, 2)
    assert outcome.err.count("\n") == 1
    assert re.search(said.replace("?", r"\?"), outcome.err), outcome.err
    assert not (here / "sweeps").exists()


def test_a_sweep_trains_what_the_command_would(here):
    """Number for number; its summary is of the runs; a second time nothing is left to do."""
    plan = toml(GRID)
    outcome = reparam("sweep", plan, "--tracker", "hook.py:hook")
    assert outcome.status == 2  # there is no such file
    outcome = reparam("sweep", plan)
    assert outcome.status == 0, outcome
    assert outcome.out.count(": done ") == 4
    folders = sorted(Path("sweeps/plan").glob("0*"))
    assert [f.name[:3] for f in folders] == ["000", "001", "002", "003"]
    own = options(data="tiny.npy", samples=2, estimator="rloo", seed=1)
    assert reparam(*own, "--out", "alone").status == 0
    assert records(folders[3]) == records(Path("alone"))
    rows = list(csv.DictReader(Path("sweeps/plan/summary.csv").read_text().splitlines()))
    assert [row["estimator"] for row in rows] == ["score", "rloo"]
    bounds = [records(f, final=True)[0]["bound"] for f in folders[2:]]
    assert float(rows[1]["bound"]) == pytest.approx(mean(bounds))
    assert float(rows[1]["bound_error"]) == pytest.approx(stdev(bounds) / 2**0.5)
    kept = json.loads(Path("sweeps/plan/summary.json").read_text())
    assert [run["state"] for run in kept["runs"]] == ["done"] * 4
    page = Path("sweeps/plan/sweep.html").read_text()
    assert "4 of 4 runs of plan.toml are done." in page
    assert page.count('/report.html">') == 4
    before = {f: (f / "checkpoint.pt").stat().st_mtime_ns for f in folders}
    toml(GRID.replace("[0, 1]", "[0, 1, 2]"))  # a plan may grow
    outcome = reparam("sweep", plan, "--jobs", 1)
    assert outcome.out.count(": done ") == 2
    assert before == {f: (f / "checkpoint.pt").stat().st_mtime_ns for f in folders}
    assert [run.name[:3] for run in sorted(Path("sweeps/plan").glob("0*"))][-1] == "005"
    outcome = reparam("sweep", plan, "--summary")
    assert outcome.status == 0
    assert outcome.out.count("3/3") == 2


def test_a_stopped_sweep_goes_on(here):
    """Ctrl-C leaves checkpoints, says how to go on, and changes nothing of the runs."""
    plan = toml(FEW, epochs=40, checkpoint_every=1)
    assert reparam("sweep", plan, "--out", "whole").status == 0
    process = start("-m", "reparam", "sweep", plan, "--out", "cut", "--jobs", 1)
    end = time.monotonic() + DEADLINE
    while not list(here.glob("cut/000*/checkpoint.pt")) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130, (out, err)
    assert err == "reparam: stopped; continue with: reparam sweep plan.toml --out cut --jobs 1\n"
    assert "0/1" in out
    outcome = reparam("sweep", plan, "--out", "cut")
    assert outcome.status == 0, outcome
    for one, other in zip(sorted(here.glob("cut/0*")), sorted(here.glob("whole/0*")), strict=True):
        assert records(one) == records(other)


def test_failures_are_shown_and_the_others_done(here):
    """A loss that is not a number is kept as it is; a killed process is tried again."""
    plan = toml('estimator = ["score", "rloo"]\nlr = [1e-3, 1e20]')
    outcome = reparam("sweep", plan)
    assert outcome.status == 1
    assert "2 of 4 runs failed, first 001-estimator=score-lr=1e+20: step 1" in outcome.err
    assert outcome.out.count(": failed ") == 2
    assert outcome.out.count(": done ") == 2
    again = reparam("sweep", plan)
    assert (again.status, again.out.count(": failed ")) == (1, 0)
    Path("killer.py").write_text(KILLER)
    outcome = reparam("sweep", toml(FEW), "--out", "b", "--tracker", "killer.py:hook")
    assert "its process was ended by SIGKILL (was memory short?)" in outcome.err
    assert reparam("sweep", toml(FEW), "--out", "b").status == 0


def test_runs_are_trained_on_a_dask_cluster(here):
    """By joblib's backend, with the same results."""
    distributed = pytest.importorskip("distributed")
    plan = toml(FEW)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address.replace("tcp", "dask")
        outcome = reparam("sweep", plan, "--cluster", address)
    assert outcome.status == 0, outcome
    assert outcome.out.count(": done ") == 2


def test_runs_are_trained_by_submitit(here):
    """Its executor of local processes stands in for Slurm's; an unknown option is refused."""
    pytest.importorskip("submitit")
    plan = toml(FEW, '[slurm]\ncluster = "local"\ntimeout_min = 5')
    outcome = reparam("sweep", plan, "--cluster", "slurm")
    assert outcome.status == 0, outcome
    assert outcome.out.count(": done ") == 2
    plan = toml(FEW, '[slurm]\ncluster = "local"\ntimeout_min = "soon"')
    outcome = reparam("sweep", plan, "--cluster", "slurm")
    assert outcome.status == 2
    assert "[slurm]: expected options of submitit; " in outcome.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--cluster slrum", "--cluster: expected dask://HOST:PORT, ray, .* or slurm, got 'slrum'"),
        ("--cluster dask://here", "--cluster: expected a scheduler at dask://here, .* got .* port"),
        ("--cluster slurm", "--cluster slurm: expected a machine that gives Slurm its jobs, got "),
        ("--jobs 0", "--jobs: expected at least 1, got 0"),
        ("--jobs 2 --cluster ray", "--jobs: expected it for this machine alone"),
    ],
)
def test_wrong_places_are_refused(here, monkeypatch, options, said):
    """Before a folder is made; there is no Slurm on the path."""
    monkeypatch.setenv("PATH", str(here))
    outcome = reparam("sweep", toml(FEW), *options.split())
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert re.search(said, outcome.err), outcome.err
    assert not (here / "sweeps").exists()


def test_a_legend_of_many_long_names_leaves_room_for_the_curves():
    """Two of ten letters share a row; of a hundred, each has one."""
    for letters, rows in ((10, 1), (100, 2)):
        traces = [SimpleNamespace(name="n" * letters)] * 2
        axis = SimpleNamespace(title=SimpleNamespace(text="x"))
        layout = SimpleNamespace(xaxis=axis, yaxis=axis)
        figure = SimpleNamespace(data=traces, layout=layout, to_json=lambda: "{}")
        assert f"--rows: {rows}" in plot(figure)


def test_the_best_mean_is_marked():
    """Of metrics that have a direction, where there is something to compare."""

    def run(cell, **metrics):
        return SimpleNamespace(cell=cell, metrics=metrics, state="done")

    found = cells(
        [run({"k": 1}, bound=-2.0, error=3.0, kl=1), run({"k": 2}, bound=-1.0, error=4.0, kl=2)]
    )
    marked = {(c.options["k"], name) for c in found for name, f in c.figures.items() if f.best}
    assert marked == {(2, "bound"), (1, "error")}
    assert str(Figure(1.234, 0.056)) == "1.23 ± 0.056"
    assert table([Cell({"k": 1}, 2, 0, {})]).row_count == 1
