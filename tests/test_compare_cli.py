"""`reparam compare`: what it prints and writes, what it refuses and how."""

import json
import re
import shlex

import pytest

import reparam as rp
from reparam.cli import frame
from reparam.diagnostics import lookup
from tiny_runs import Outcome, finished, reparam, start

SMALL = ["--n", "2", "--trials", "32"]
OWN = """
import torch
from torch.distributions import Bernoulli
from types import SimpleNamespace

import reparam as rp

logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
flat = torch.zeros(3)


def q():
    return Bernoulli(logits=logits)


def cost(points):
    return (points - 0.45) ** 2


def black(points):
    return cost(points.detach())


class Both:
    params = {"p": logits}

    def q(self):
        return q()

    def cost(self, points):
        return cost(points)


def pair():
    return q, cost


def broken(points):
    raise RuntimeError("the cost\\nbroke")


def raising():
    raise KeyError("no")


both, tuple_, black_box = Both(), (q, cost), (q, black)
reference, kept = rp.PROBLEMS["bernoulli"], SimpleNamespace(q=q(), cost=cost)
bad, number, unlearned = (q, broken), 3, (Bernoulli(logits=flat), cost)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with a file of one's own, and lines as long as they come."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(frame.console, "_width", 400)
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def compared(*arguments: str) -> Outcome:
    """Few trials."""
    return reparam("compare", *arguments, *SMALL)


def test_a_reference_problem(here):
    """The table, the advice and the files; the figures are those of the function."""
    outcome = compared(
        "rloo", "gumbel-softmax:tau=0.5", "--problem", "categorical8", "--out", "run"
    )
    assert (outcome.status, outcome.err) == (0, "")
    assert re.search(r"^rloo +2 ", outcome.out, re.MULTILINE)
    assert "has the least mean squared error" in outcome.out
    assert outcome.out.endswith("report: run/compare.html\n")
    assert {p.name for p in (here / "run").iterdir()} == {"compare.html", "compare.json"}
    values = json.loads((here / "run" / "compare.json").read_text())
    p = rp.PROBLEMS["categorical8"]()
    found = rp.compare(lambda x: p.cost(x, p.weight), p.q, ["rloo"], n=2, trials=32, exact=p.exact)
    assert values["rows"][0]["mse"] == found.rows[0]["mse"]
    assert [row["estimator"] for row in values["rows"]] == ["rloo", "gumbel-softmax:tau=0.5"]


@pytest.mark.parametrize(
    "name", ["own.py", *(f"own.py:{x}" for x in ("both", "Both", "pair", "tuple_", "reference"))]
)
def test_a_file_of_ones_own(name, here):
    """An object, a class, a function, a tuple, a Problem, or the file itself."""
    outcome = compared("rloo", "score", "--problem", name)
    assert (outcome.status, outcome.err) == (0, "")
    assert re.search(r"^rloo +2 ", outcome.out, re.MULTILINE)


def test_by_default_all_that_serve_are_compared(here):
    """Those that refuse q, or need a module, or estimate a bound, are left out."""
    outcome = compared("--problem", "own.py:both")
    assert outcome.status == 0
    names = {line.split()[0] for line in outcome.out.splitlines() if re.match(r"\S+ +2 ", line)}
    assert {"rloo", "arm", "rebar", "gumbel-softmax", "enumerate"} <= names
    assert not names & {"pathwise", "vimco", "relax"}
    assert "not measured" not in outcome.out


def test_two_processes_say_the_same(here):
    """Of a file that other processes cannot import; times aside."""
    rows = []
    for jobs in ("1", "2"):
        outcome = compared("rloo", "--problem", "own.py:both", "--jobs", jobs, "--out", jobs)
        assert outcome.status == 0, outcome
        (row,) = json.loads((here / jobs / "compare.json").read_text())["rows"]
        rows.append({k: v for k, v in row.items() if "seconds" not in k})
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", 'Command "compare" parameter --problem requires an argument.'),
        ("--problem bits", "--problem: expected one of bernoulli, .*; did you mean 'bits3'.*"),
        ("--problem no.py:x", "--problem: expected a Python file, got no.py, which is none"),
        ("--problem own.py:x", "--problem: expected a name that own.py defines, got 'x'"),
        ("--problem own.py:number", "--problem: expected own.py:number to have q .*, got int"),
        (
            "--problem broken.py",
            "--problem: .*, got broken.py, which raises NameError: name 'x' .*",
        ),
        (
            "--problem own.py:raising",
            r"--problem: .* make q and cost, got KeyError: 'no' \(own.py, line 43\)",
        ),
        ("--problem leaves.py", "--problem: .*, got leaves.py, which raises SystemExit: 3"),
        ("rlo --problem bits3", "estimator: expected one of .*; did you mean 'rloo'.*"),
        ("--problem bits3 --n 1,x", "--n: expected integers with commas, .*, got '1,x'"),
        ("--problem bits3 --n 0", "n: expected an integer >= 1, got 0"),
        ("--problem bits3 --trials 3", "trials: expected an integer >= 32, got 3"),
        (
            "--problem bits3 --out own.py",
            "--out: expected a folder that can be made, got own.py .*",
        ),
        ("rloo --problem own.py:kept --jobs 2", "q: expected a function that builds .* jobs=1"),
        ("rloo --problem own.py:unlearned", "params: expected tensors that require grad, .*"),
        ("rloo --problem own.py:bad --n 2", "the cost broke"),
    ],
)
def test_bad_arguments_are_refused(command, message, here):
    """Status 2, and one line."""
    (here / "broken.py").write_text("x\n")
    (here / "leaves.py").write_text("raise SystemExit(3)\n")
    outcome = reparam("compare", *shlex.split(command))
    assert (outcome.status, outcome.out) == (2, ""), outcome
    assert re.fullmatch(rf"reparam: {message}\n", outcome.err), outcome.err


def test_what_breaks_in_the_middle_is_the_works_failure(here, monkeypatch):
    """Status 1, once the trials have begun."""

    def breaking(*_: object, **chosen: object) -> None:
        chosen["progress"](0, 2)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(lookup, "compare", breaking)
    outcome = compared("rloo", "--problem", "bits3")
    assert (outcome.status, outcome.err) == (1, "reparam: out of memory\n")


def test_an_interrupt_stops_it(here, monkeypatch):
    """Status 130, and nothing written but the folder."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lookup, "compare", interrupted)
    outcome = compared("rloo", "--problem", "bits3", "--out", "run")
    assert (outcome.status, outcome.err) == (130, "reparam: stopped; nothing was written\n")
    assert not list((here / "run").iterdir())


def test_a_refused_estimator_does_not_fail_the_others(here):
    """It is listed below the table; if all are refused, there is no advice."""
    outcome = compared("rloo", "rebar", "--problem", "own.py:black_box")
    assert outcome.status == 0
    assert re.search(r"not measured:\n  rebar: costs: expected", outcome.out)
    outcome = compared("pathwise", "--problem", "bits3")
    assert (outcome.status, "least" in outcome.out) == (0, False)


def test_help_costs_no_torch():
    """In a process of its own."""
    program = (
        "import sys\nfrom reparam import cli\nsys.argv = ['reparam', 'compare', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    outcome = finished(start("-c", program))
    assert (outcome.status, outcome.err) == (0, "")
    for word in ("--problem", "--trials", "--jobs", "--out", "categorical8"):
        assert word in outcome.out
