"""The speed benchmark: its pieces at tiny shapes, and its refusal while tests fail."""

import json
import os
import re
import sys

import pytest
import torch
from benchmarks import run
from benchmarks.run import gate, measured, write
from benchmarks.speed import measure, others, relaxed, training
from benchmarks.speed.floors import ceiling, floor
from benchmarks.speed.measure import Contest, Side, compare
from benchmarks.speed.report import verdict

import reparam as rp


@pytest.fixture(autouse=True)
def single_calls(monkeypatch):
    """Tiny shapes are not repeated until a clock can tell their time."""
    monkeypatch.setattr(measure, "SMALL", 1)


def same(shape, standard=lambda: None, ours=lambda: None):
    """A contest of two calls."""
    return Contest(
        "same", shape, lambda: [Side("standard", standard), Side("pure torch", ours, fast=False)]
    )


@pytest.mark.parametrize("hard", [False, True])
def test_relaxed_samples_are_compared(hard):
    """Each of ours is compared with each standard, and both have times."""
    rows = compare(relaxed.contest((4, 5), hard, [], compiled=False), 2)
    standards = {"F.gumbel_softmax"} | (set() if hard else {"RelaxedOneHotCategorical"})
    assert {row["standard"] for row in rows} == standards
    assert {"pure torch"} <= {row["ours"] for row in rows} <= {"pure torch", "[fast]"}
    assert all(0 < row["lowest"] <= row["ratio"] <= row["highest"] for row in rows)


def test_plain_steps_estimate_the_same_gradient():
    """The step without our fast paths is unbiased too: with a constant cost nothing moves."""
    logits = torch.randn(3, 4, requires_grad=True)
    q = torch.distributions.OneHotCategorical(logits=logits)
    value = rp.expect(lambda z: z.sum(-1), q, training.PlainRloo(), 4)
    (grad,) = torch.autograd.grad(value.sum(), logits)
    torch.testing.assert_close(grad, torch.zeros(3, 4), atol=1e-6, rtol=0)
    points = training.Plain(hard=True).draw(q, 2).points
    assert set(points.detach().unique().tolist()) == {0.0, 1.0}


def test_other_operations_are_compared():
    """Each runs at small shapes, by one path of ours or by two; naive subsets have size k."""
    contests = [
        others.indices((6, 50), 3),
        others.subset((6, 50)),
        others.gradients("sinkhorn", "naive", (2, 3, 3), others.naive_sinkhorn, others._balanced),
        training.rloo((2, 3, 4)),
    ]
    assert all(len(compare(contest, 1)) in (1, 2) for contest in contests)
    sizes = others.successive_softmax(torch.zeros(3, 50)).sum(-1)
    torch.testing.assert_close(sizes, torch.full((3,), float(others.K)))


def test_the_switch_is_put_back(monkeypatch):
    """A side runs on the path that it names, and the environment is afterwards what it was."""
    monkeypatch.setenv("REPARAM_FAST", "1")
    seen = []
    compare(same((2,), ours=lambda: seen.append(os.environ["REPARAM_FAST"])), 1)
    assert set(seen) == {"0"}
    assert os.environ["REPARAM_FAST"] == "1"


def test_a_standard_that_cannot_run_is_named_and_left_out(capsys):
    """Ours may not fail; a package of others may."""

    def fails():
        raise ImportError("no compiler")

    assert compare(same((2,), standard=fails), 1) == []
    assert "standard: left out, ImportError" in capsys.readouterr().out
    with pytest.raises(ImportError, match="no compiler"):
        compare(same((2,), ours=fails), 1)


@pytest.mark.parametrize(
    ("shape", "ours", "standard", "least"),
    [
        ((32, 10), "pure torch", "F.gumbel_softmax", 0.9),
        ((128, 20, 10), "pure torch", "F.gumbel_softmax", 3),
        ((4096, 64), "pure torch", "RelaxedOneHotCategorical", 4.5),
        ((4096, 64), "[fast]", "F.gumbel_softmax", 5),
        ((1_000_000, 8), "[fast]", "F.gumbel_softmax", 10),
    ],
)
def test_floors(shape, ours, standard, least):
    """Promises grow with the size, and double for few classes."""
    assert floor("gumbel_softmax, hard", shape, ours, standard) == least


def test_other_floors():
    """Permutations have floors of their own; small inputs have no promised peak."""
    assert floor("sinkhorn", (64, 10, 10), "pure torch", "naive") == 4
    assert floor("sinkhorn", (64, 50, 50), "pure torch", "naive") == 10
    assert ceiling("gumbel_softmax, soft", (32, 10)) is None
    assert ceiling("gumbel_softmax, hard", (65536, 64)) == pytest.approx(3.1)


def test_what_is_missed_is_said():
    """A verdict names the promise, and says MISSED where it was not kept."""
    row = {"floor": 3.0, "held": False, "ceiling": 2.1, "peak_held": False}
    assert verdict(row) == "3 MISSED; peak 2.1 MISSED"
    assert verdict({"floor": 0.9, "held": True, "ceiling": None, "peak_held": True}) == "0.9 held"


def test_results_are_written(tmp_path):
    """The settings and the rows go to JSON, the table to Markdown, the bars to a picture."""
    rows = measured([relaxed.contest((4, 5), False, [], compiled=False)], 1)
    write(rows, run.setting(1), tmp_path)
    found = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert found["rows"] == rows
    assert found["torch"] == torch.__version__
    assert (tmp_path / "speed.md").read_text(encoding="utf-8").count("\n| gumbel") == len(rows)
    pytest.importorskip("matplotlib")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_rest_is_written(tmp_path, monkeypatch, capsys):
    """One line says that the picture is missing, and how to have it."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    write(measured([same((2,))], 1), run.setting(1), tmp_path)
    assert "pip install matplotlib" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"speed.json", "speed.md"}


def test_the_gate_refuses_while_a_test_fails(tmp_path):
    """It names the command that shows the failure, and lets pass what passes."""
    path = tmp_path / "test_sample.py"
    path.write_text("def test_it():\n    assert True\n", encoding="utf-8")
    gate([str(path)])
    path.write_text("def test_it():\n    assert False\n", encoding="utf-8")
    expected = "expected the tests of the operations to pass, got failures; run -m pytest"
    with pytest.raises(SystemExit, match=re.escape(expected)):
        gate([str(path)])
