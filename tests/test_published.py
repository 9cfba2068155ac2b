"""Published figures: the exact ones to their digits, and one short training run."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benchmarks.published import (
    bernoulli,
    eight_categories,
    gaussian,
    polynomial,
    rebar,
    report,
    rows,
    straight_through,
    variance,
)
from benchmarks.published.__main__ import BLOCKS, main
from benchmarks.published.options import Options

import reparam as rp

ROOT = Path(__file__).parents[1]
QUICK = Options(quick=True)


def disagreeing(found: list[rows.Row]) -> list[str]:
    """The rows that differ from what was published, as text."""
    return [" ".join(report.cells(row)) for row in found if row.agrees is False]


@pytest.mark.parametrize(
    ("compute", "count"),
    [
        (straight_through.exact_rows, 11),
        (bernoulli.run, 48),
        (eight_categories.run, 24),
        (gaussian.run, 16),
    ],
    ids=["straight-through", "bernoulli", "eight-categories", "gaussian"],
)
def test_exact_figures_agree_to_the_published_digits(compute, count):
    """Every enumerated or integrated figure is the published one."""
    found = compute()
    assert len(found) == count
    assert not disagreeing(found)


def test_sampled_straight_through_figures_agree():
    """Bias and variance of Gumbel-noise methods agree with samples of the published size.

    Seeded. Chance of refusing a right estimator over seeds: 0.5% a figure (Student's t).
    """
    assert not disagreeing(straight_through.sampled_rows(QUICK))


def test_polynomial_losses_agree_where_the_published_run_is_one_of_ours():
    """One epoch of all five methods; the optimum; and ReinMax falls faster than straight-through.

    Seeded, so it cannot flake. Chance of refusing a right estimator over seeds: 0.1% a figure. A
    gradient of the wrong sign or scale differs by more than .01, ten times the interval.
    """
    found = polynomial.run(QUICK)
    assert len(found) == 6
    assert not disagreeing(found)
    ours = {row.what: row.ours for row in found}
    assert ours["ReinMax, epoch 1"] < ours["ST, epoch 1"] - 0.004


def test_the_criteria_can_fail():
    """A wrong estimator's figure is called different, by each criterion."""
    wrong = straight_through.enumerated(rp.GappedStraightThrough())[1]
    assert rows.digits("variance", wrong, ".772404").agrees is False
    assert rows.close("x", 1.0, 1.0 + 1e-9, 1e-10).agrees is False
    assert rows.sampled("x", rows.Estimate(1.0, 0.1), 2.0, 0.5, "").agrees is False
    near, far = rows.Estimate(1.0, 0.1), rows.Estimate(1.3, 0.1)
    assert rows.lower("x", near, far, "y").agrees is False
    assert rows.lower("x", near, rows.Estimate(2.0, 0.1), "y").agrees is True


def test_sets_of_outcomes_have_chance_one_together():
    """The weights of the enumeration over sets are a distribution, also when p is not uniform."""
    p = [0.5, 0.2, 0.2, 0.1]
    pairs = [(a, b) for i, a in enumerate(p) for b in p[i + 1 :]]
    assert math.isclose(sum(eight_categories._set_chance(list(pair)) for pair in pairs), 1.0)


@pytest.mark.parametrize(("estimator", "n"), [(rp.Rebar, 1), (rp.Rloo, 2), (rp.Disarm, 1)])
def test_nested_draws_train_the_belief_network(estimator, n):
    """Thirty steps raise the ELBO by far more than its noise, whatever the estimator."""
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(240, 16, generator=generator) < torch.linspace(0, 1, 16)).float()
    (elbos, again) = rebar.train(images, estimator, n, QUICK, 2)
    assert sum(again) > sum(elbos)
    assert all(map(math.isfinite, [*elbos, *again]))


def test_control_variates_beat_plain_estimators_on_a_vae_step():
    """DoubleCv, Rebar and Relax are below Score and Rloo there, at the same number of samples."""
    found = [r for r in variance.compare(variance.vae(50), QUICK) if "2 samples" in r.what]
    assert sum(row.agrees is True for row in found) == 6
    assert not disagreeing(found)


def test_a_bad_block_lists_the_blocks(capsys):
    """A wrong name ends with status 2 and a line that names them all and the nearest."""
    with pytest.raises(SystemExit) as stopped:
        main(["gausian"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert all(name in said for name in BLOCKS)
    assert "did you mean 'gaussian'" in said


def test_the_command_writes_json_and_markdown(tmp_path):
    """One block from the command line; its files hold the setting and every row, and no paths."""
    out = tmp_path / "published.json"
    command = [sys.executable, "-m", "benchmarks.published", "gaussian", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    assert "16 agrees" in done.stdout
    for path in (out, out.with_suffix(".md")):
        text = path.read_text(encoding="utf-8")
        assert text.count("measure-valued: variance") == 2
        assert str(tmp_path) not in text
