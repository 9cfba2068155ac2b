"""Jigsaw puzzles: pieces and measures by hand and by enumeration, the loss, runs and report."""

import itertools
import re

import pytest
import torch
from scipy import stats
from torch import nn

from acceptance import seeded
from reparam.data import Images
from reparam.functional import gumbel_sinkhorn
from reparam.models.jigsaw import (
    JigsawSolver,
    cut,
    joined,
    kendall_tau,
    kinds,
    places,
    quality,
    scrambled,
    taken,
)
from reparam.noise import fold_in
from reparam.recipes.jigsaw import report as report_module
from reparam.recipes.jigsaw import task as task_module
from reparam.recipes.jigsaw.report import sections
from reparam.recipes.jigsaw.task import squared_error
from reparam.recipes.lookup import prepared
from reparam.training.folder import RunFolder
from reparam.training.loop import Run
from test_report import Page, decoded
from tiny_runs import (
    ALONE,
    checkpoint,
    equal,
    options,
    records,
    reparam,
    settings,
    step_of,
    trained,
    write_images,
)

ORDERS = torch.tensor(list(itertools.permutations(range(4))))


class Known(nn.Module):
    """Scores of pieces whose mean pixel is a tenth of their place; `sign` -1 avoids the place."""

    def __init__(self, sign=1.0):
        super().__init__()
        self.sign = nn.Parameter(torch.tensor(sign))

    def forward(self, pieces):
        place = 10 * pieces.flatten(1).mean(1, keepdim=True)
        return -self.sign * (place - torch.arange(4)).square()


def puzzle(*numbers):
    """A puzzle of 2 x 2 pieces of one pixel each, a tenth of their number, `(1, 4, 1, 1, 1)`."""
    return torch.tensor(numbers).view(1, 4, 1, 1, 1) / 10


def plain(count=20):
    """Images 4 x 4 whose piece for place i has pixels of i / 10."""
    image = joined(puzzle(0, 1, 2, 3).expand(count, 4, 1, 2, 2))
    return Images("<plain>", image, image, note="By hand.")


@pytest.fixture
def data(tmp_path):
    """Images of 8 x 8 pixels, of which a tenth is held out."""
    return write_images(tmp_path / "tiny.npy")


def make_run(path, data, **changed):
    """A run in a folder, not yet begun."""
    path.mkdir(exist_ok=True)
    chosen = settings("jigsaw", data=str(data), **changed)
    return Run(*prepared(chosen), chosen, RunFolder(path), ALONE)


def test_pieces_are_cut_row_by_row():
    """And what does not divide is cropped: half of it on either side, rather the end."""
    image = torch.arange(2 * 35.0).view(1, 2, 5, 7)
    pieces = cut(image, 2)
    assert pieces.shape == (1, 4, 2, 2, 3)
    assert pieces[0, 0, 0].tolist() == [[0, 1, 2], [7, 8, 9]]
    assert pieces[0, 1, 0].tolist() == [[3, 4, 5], [10, 11, 12]]
    assert pieces[0, 2, 1].tolist() == [[49, 50, 51], [56, 57, 58]]
    assert cut(image, 3)[0, 0, 0].tolist() == [[7, 8]]


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_joining_undoes_cutting(side):
    """Up to what was cropped."""
    images = torch.rand(3, 2, 12, 24, generator=seeded(0))
    assert torch.equal(joined(cut(images, side)), images)
    pieces = torch.rand(3, side**2, 1, 5, 4, generator=seeded(1))
    assert torch.equal(cut(joined(pieces), side), pieces)


def test_pieces_are_scrambled_evenly():
    """Each puzzle in an order of its own, which the key decides: all 24 orders occur.

    Of 2000 draws one is missing with a probability of at most 24 (23/24)^2000 < 1e-35.
    """
    pieces = puzzle(0, 1, 2, 3).expand(2000, 4, 1, 1, 1)
    found = scrambled(pieces, 0)
    orders = (10 * found.flatten(1)).round().long()
    assert torch.equal(orders.unique(dim=0), ORDERS)
    assert torch.equal(found, scrambled(pieces, 0))
    assert not torch.equal(found, scrambled(pieces, 1))


def test_pieces_are_taken_in_an_order_whole():
    """Index i of the order names the piece that comes to place i."""
    pieces = torch.rand(1, 4, 2, 3, 3, generator=seeded(0))
    assert torch.equal(taken(pieces, torch.tensor([[2, 0, 3, 1]])), pieces[:, [2, 0, 3, 1]])


def test_kendalls_tau_is_scipys():
    """For every order of four."""
    expected = [stats.kendalltau(range(4), order).statistic for order in ORDERS.tolist()]
    torch.testing.assert_close(kendall_tau(ORDERS), torch.tensor(expected, dtype=torch.float64))


def test_distinct_pieces_belong_where_they_come_from():
    """For every order of four."""
    true = puzzle(5, 1, 8, 2).expand(24, 4, 1, 1, 1)
    assert torch.equal(places(*kinds(taken(true, ORDERS), true)), ORDERS)


@pytest.mark.parametrize("alike", [(0, 1, 0, 2), (0, 0, 0, 1), (3, 3, 1, 1), (2, 2, 2, 2)])
def test_identical_pieces_are_interchangeable(alike):
    """For every order of four: their places are a permutation, in turn where they are alike."""
    true = puzzle(*alike).expand(24, 4, 1, 1, 1)
    found = taken(true, ORDERS)
    belongs = places(*kinds(found, true))
    assert torch.equal(belongs.sort(-1).values, torch.arange(4).expand(24, 4))
    assert torch.equal(taken(true, belongs), found)
    for order in belongs.tolist():
        for kind in set(alike):
            turns = [place for place in order if alike[place] == kind]
            assert turns == sorted(turns)


def test_a_solved_puzzle_has_nothing_wrong():
    """Whatever the order of its identical pieces."""
    true = puzzle(0, 3, 0, 7).repeat(2, 1, 1, 1, 1)
    found = taken(true, torch.tensor([[0, 1, 2, 3], [2, 1, 0, 3]]))
    got = {name: value.tolist() for name, value in quality(found, true).items()}
    assert got == {
        "pieces": [100, 100],
        "solved": [100, 100],
        "kendall_tau": [1, 1],
        "l1": [0, 0],
        "l2": [0, 0],
    }


def test_what_is_wrong_is_measured_exactly():
    """Two of four pieces exchanged, which differ by 0.8 of white; all turned round."""
    true = puzzle(0, 2, 8, 9).repeat(2, 1, 1, 1, 1)
    found = taken(true, torch.tensor([[2, 1, 0, 3], [3, 2, 1, 0]]))
    got = {name: value.tolist() for name, value in quality(found, true).items()}
    assert got["pieces"] == [50, 0]
    assert got["solved"] == [0, 0]
    assert got["kendall_tau"] == [0, -1]
    assert got["l1"] == pytest.approx([100 * 2 * 0.8 / 4, 100 * 2 * (0.9 + 0.6) / 4])
    squares = [2 * 0.64 / 4, 2 * (0.81 + 0.36) / 4]
    assert got["l2"] == pytest.approx([100 * square**0.5 for square in squares])


def test_a_piece_is_right_only_as_a_whole():
    """One pixel of one channel that differs makes it wrong."""
    true = torch.rand(1, 4, 2, 3, 3, generator=seeded(0))
    found = true.clone()
    found[0, 2, 1, 2, 0] += 0.5
    assert quality(found.clone(), true)["pieces"].tolist() == [75]


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 1, 1), (3, 9, 7)])
def test_each_piece_is_scored_by_itself(shape):
    """Pieces in another order have their columns in that order, and solve to the same image."""
    torch.manual_seed(0)
    solver, moved = JigsawSolver(shape, 4, hidden=8), torch.tensor([2, 0, 3, 1])
    pieces = torch.rand(5, 4, *shape, generator=seeded(0))
    scores = solver(pieces)
    assert scores.shape == (5, 4, 4)
    torch.testing.assert_close(solver(pieces[:, moved]), scores[:, :, moved])
    assert torch.equal(moved[solver.order(pieces[:, moved])], solver.order(pieces))


def test_the_order_is_the_best_matching():
    """Rows are places, columns pieces: every piece comes to the place that it is scored for."""
    solver = JigsawSolver((1, 1, 1), 4)
    solver.network = Known()
    given = puzzle(2, 0, 3, 1)
    assert solver.order(given).tolist() == [[1, 3, 0, 2]]
    assert torch.equal(taken(given, solver.order(given)), puzzle(0, 1, 2, 3))


def test_the_squared_error_is_that_of_the_image_put_together():
    """A sum over pixels; zero for the permutation that solves, and a mixture for a mixture."""
    true = puzzle(0, 2, 8, 9)
    given = puzzle(2, 0, 8, 9)
    right = torch.eye(4)[[1, 0, 2, 3]]
    stacked = torch.stack([right, torch.eye(4), (right + torch.eye(4)) / 2]).unsqueeze(1)
    found = squared_error(stacked, given, true)
    torch.testing.assert_close(found, torch.tensor([[0.0], [2 * 0.04], [2 * 0.01]]))


@pytest.mark.parametrize("samples", [1, 3])
def test_the_loss_is_the_error_of_relaxed_permutations(samples, data):
    """At the step's temperature, of pieces and noise by the step; the trace ends in it."""
    given = {"samples": samples, "tau": "linear:start=1,end=2,steps=10", "iterations": 7}
    task, images = prepared(settings("jigsaw", data=str(data), **given))
    batch = images.train[:6]
    step, true = step_of(batch, 5, seed=4), cut(batch, 2)
    loss, metrics = task(batch, step)
    pieces = scrambled(true, step.keys)
    scores = task.solver(pieces).expand(samples, 6, 4, 4)
    keys = fold_in(step.keys, torch.arange(1, 1 + samples).unsqueeze(1))
    permutations, residual = gumbel_sinkhorn(scores, 1.5, 7, key=keys)
    expected = squared_error(permutations, pieces, true).mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(metrics["squared_error"], expected.detach())
    torch.testing.assert_close(metrics["residual"], residual.mean())
    assert task.settings_at(5) == {"tau": pytest.approx(1.5)}
    named = dict(task.trace(batch, step))
    assert list(named) == ["batch", "scores", "permutations", "loss"]
    torch.testing.assert_close(named["loss"], loss)
    assert {"scores", "permutations"} < set(task.causes)


def test_one_who_knows_the_places_solves_everything(data, monkeypatch):
    """And who avoids them nothing; whatever the parts that are tested at a time."""
    task, _ = prepared(settings("jigsaw", data=str(data)))
    task.solver.network = Known()
    monkeypatch.setattr(task_module, "PART", 7)
    expected = {"pieces": 100, "solved": 100, "kendall_tau": 1, "l1": 0, "l2": 0}
    assert task.evaluate(plain().test, step_of(plain().test)) == expected
    assert task.conclude(plain().test, step_of(plain().test)) == expected
    task.solver.network = Known(-1.0)
    got = task.evaluate(plain().test, step_of(plain().test))
    assert (got["pieces"], got["solved"], got["kendall_tau"]) == (0, 0, -1)
    assert got["l1"] == pytest.approx(20)
    assert got["l2"] == pytest.approx(100 * 0.05**0.5)


def test_a_run_learns_to_solve(tmp_path):
    """The digits in quarters, of which chance puts one in place."""
    run = make_run(tmp_path / "run", "digits", epochs=4, hidden=64, lr=0.01)
    before = run.task.evaluate(run.data.test, step_of(run.data.test))
    after = trained(run)
    assert before["pieces"] < 40
    assert after["pieces"] > 75
    assert after["kendall_tau"] > 0.6 > before["kendall_tau"]
    assert after["l1"] < before["l1"] / 2


def test_a_resumed_run_ends_as_an_uninterrupted_one(data, tmp_path, monkeypatch):
    """Bit for bit, from a checkpoint within the second epoch."""
    trained(make_run(tmp_path / "whole", data))
    after = Run.after

    def breaking(self, log, progress):
        after(self, log, progress)
        if self.step == 5:
            raise KeyboardInterrupt

    stopped = make_run(tmp_path / "stopped", data, checkpoint_every=4)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "after", breaking)
        with pytest.raises(KeyboardInterrupt):
            trained(stopped)
    again = make_run(tmp_path / "stopped", data)
    again.resume()
    assert (again.step, again.steps) == (4, 6)
    trained(again)
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "stopped"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *(({k: 0}, f"--{k}: expected at least 1, got 0") for k in
          ("samples", "iterations", "hidden", "epochs")),
        ({"side": 1}, "--side: expected at least 2, got 1"),
        ({"side": 9}, "--side: expected at most 8 pieces along images of 8 x 8 pixels, got 9"),
        ({"tau": 0}, "--tau: expected a temperature above 0, got 0 in step 0 of 0.*"),
        ({"tau": "linear:start=1,end=0,steps=5"}, "--tau: .* got 0 in step 5 of linear.*"),
        ({"tau": "x"}, "schedule: expected one of constant, linear, .*; got 'x'"),
        ({"data": "nowhere"}, "expected digits, mnist, or a path .*, got 'nowhere'"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_refused_before_any_file_is_made(changed, message, data):
    """Status 2, and one line."""
    before = sorted(data.parent.rglob("*"))
    given = {"data": data, "out": data.parent / "run", **changed}
    outcome = reparam(*options("jigsaw", **given))
    assert (outcome.status, outcome.out) == (2, "")
    assert re.fullmatch(rf"reparam: {message}\n", outcome.err), outcome.err
    assert sorted(data.parent.rglob("*")) == before


def test_the_shorter_side_limits_the_pieces(data):
    """Of images 8 x 6."""
    write_images(data, shape=(8, 6))
    prepared(settings("jigsaw", data=str(data), side=6))
    with pytest.raises(ValueError, match="at most 6 pieces along images of 8 x 6 pixels, got 7"):
        prepared(settings("jigsaw", data=str(data), side=7))


def test_the_report_shows_the_measures(data, tmp_path):
    """Of the last test, each with its meaning, and the pictures."""
    out = tmp_path / "run"
    outcome = reparam(*options("jigsaw", data=data, out=out))
    assert outcome.status == 0, outcome
    page = Page(out / "report.html")
    assert page.texts["title"] == ["jigsaw on tiny.npy"]
    titles = ["Result", "Learning curves", "Puzzles", "Unsolved puzzles"]
    assert page.texts["h2"] == [*titles, "Settings"]
    (final,) = records(out, final=True)
    rows = page.rows()
    for name in ("pieces", "solved", "kendall_tau", "l1", "l2"):
        assert rows[name] == f"{final[name]:.2f}"
    assert page.texts["td"][1].startswith("percent of places that show the right piece")


def test_pictures_are_scrambled_solved_and_true(data, monkeypatch):
    """A column for each puzzle; where all are solved, no unsolved ones are shown."""
    task, _ = prepared(settings("jigsaw", data=str(data)))
    task.solver.network = Known()
    monkeypatch.setattr(report_module, "SHOWN", 3)
    with torch.no_grad():
        found = {s.title: s for s in sections(task, plain(), [])}
    assert "Unsolved puzzles" not in found
    (uri,) = re.findall(r'src="([^"]*)"', found["Puzzles"].body)
    picture = decoded(uri).float() / 255
    assert picture.shape == (1, 3 * 5, 3 * 5)
    image = plain().test[0, 0]
    for column in range(3):
        left = 5 * column
        given, solved, true = (picture[0, top : top + 4, left : left + 4] for top in (0, 5, 10))
        torch.testing.assert_close(true, image, atol=0.002, rtol=0)
        assert torch.equal(solved, true)
        assert torch.equal(given.flatten().sort().values, true.flatten().sort().values)
    task.solver.network = Known(-1.0)
    with torch.no_grad():
        found = {s.title: s for s in sections(task, plain(), [])}
    assert found["Unsolved puzzles"].note.startswith("Of 20 held-out images 20 are not solved")
