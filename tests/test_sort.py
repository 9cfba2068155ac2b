"""Sorting images: its measures by hand, its sequences read back, its runs and its report."""

import math
import re

import pytest
import torch
from scipy import stats
from torch import nn

from acceptance import assert_follows, seeded
from reparam.data.labelled import LabelledImages
from reparam.functional import neural_sort, sinkhorn, soft_sort
from reparam.models.sorting import (
    Sorter,
    confusion,
    cross_entropy,
    perturbed,
    right_ranks,
    sorting_matrix,
)
from reparam.recipes.lookup import prepared
from reparam.recipes.sort import numbers as recipe
from reparam.recipes.sort import task as task_module
from reparam.recipes.sort.numbers import Numbers
from reparam.recipes.sort.report import sections
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
    write_labelled,
)

RELAXATIONS = ["neural-sort", "soft-sort", "sinkhorn"]


class Brightness(nn.Module):
    """Scores by the mean pixel of each half, the left worth most: it reads `written` images."""

    def __init__(self, sign=1.0):
        super().__init__()
        self.sign = nn.Parameter(torch.tensor(sign))

    def forward(self, images):
        left, right = images.flatten(1, 2).chunk(2, -1)
        return self.sign * (100 * left.mean((1, 2)) + 10 * right.mean((1, 2))).unsqueeze(1)


def written(count, seed=0):
    """Images 4 x 3 whose every pixel is a tenth of their label, in [0, 10)."""
    labels = torch.randint(10, (count,), generator=seeded(seed))
    labels[0] = 9
    return (labels / 10).view(-1, 1, 1, 1).expand(-1, 1, 4, 3).contiguous(), labels


def dataset(train=60, test=30):
    """A training and a test set of such images."""
    return LabelledImages("<written>", written(train), written(test, 1), "Written by hand.")


def read(images, digits):
    """The numbers that images `(..., 1, 4, 3 * digits)` show."""
    pixels = images.unflatten(-1, (digits, 3)).mean((-4, -3, -1)) * 10
    return (pixels.round().long() * 10 ** torch.arange(digits - 1, -1, -1)).sum(-1)


@pytest.fixture
def data(tmp_path):
    """IDX files of bright and dark images with labels 0 and 1."""
    return write_labelled(tmp_path / "tiny")


def make_run(path, data, **changed):
    """A run in a folder, not yet begun."""
    path.mkdir(exist_ok=True)
    chosen = settings("sort", data=str(data), **changed)
    return Run(*prepared(chosen), chosen, RunFolder(path), ALONE)


def test_the_target_sorts_and_equal_values_share_their_rows():
    """The largest first; distinct values give a permutation matrix, equal ones even rows."""
    values = torch.tensor([[2, 9, 5], [4, 4, 8]])
    expected = [[[0, 1, 0], [0, 0, 1], [1, 0, 0]], [[0, 0, 1], [0.5, 0.5, 0], [0.5, 0.5, 0]]]
    assert sorting_matrix(values).tolist() == expected


def test_the_cross_entropy_is_that_of_the_rows():
    """Their mean, in nats; a probability of zero has a finite price."""
    relaxed = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.2, 0.2, 0.6]])
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    third = -0.5 * (math.log(0.2) + math.log(0.6))
    expected = (math.log(2) + third) / 3
    assert cross_entropy(relaxed, target).item() == pytest.approx(expected, rel=1e-6)
    stacked = cross_entropy(torch.stack([relaxed, target]), target)
    assert stacked.shape == (2,)
    wrong = cross_entropy(torch.eye(3), torch.eye(3).flip(0))
    assert wrong.item() == pytest.approx(-2 / 3 * math.log(torch.finfo(torch.float32).tiny))


def test_a_rank_is_right_if_its_number_is_as_large():
    """Equal numbers may stand in either order; a single exchange makes two ranks wrong."""
    values = torch.tensor([[2, 9, 5, 5], [2, 9, 5, 5], [2, 9, 5, 5]])
    order = torch.tensor([[1, 2, 3, 0], [1, 3, 2, 0], [2, 1, 3, 0]])
    expected = [[True] * 4, [True] * 4, [False, False, True, True]]
    assert right_ranks(values, order).tolist() == expected


def test_the_confusion_is_the_mean_of_where_numbers_belong():
    """The diagonal where all are right; equal numbers belong in both of their places."""
    values = torch.tensor([[2, 9, 5], [4, 4, 8]])
    right = torch.tensor([[1, 2, 0], [2, 0, 1]])
    expected = torch.tensor([[4, 0, 0], [0, 3, 1], [0, 1, 3]]) / 4
    assert torch.equal(confusion(values, right), expected)
    turned = torch.tensor([[2, 0, 1], [2, 0, 1]])
    expected = torch.tensor([[2, 2, 0], [0, 1, 3], [2, 1, 1]]) / 4
    assert torch.equal(confusion(values, turned), expected)


def test_noise_is_added_in_sets():
    """None leaves the scores alone; others differ by row and set, and the key decides them."""
    scores, keys = torch.randn(4, 1, 3, generator=seeded(0)), torch.arange(4)
    assert torch.equal(perturbed(scores, 0, keys), scores.unsqueeze(0))
    noise = perturbed(scores, 5, keys) - scores
    assert noise.shape == (5, 4, 1, 3)
    assert len(noise.unique()) > 55
    assert torch.equal(perturbed(scores[2:], 5, keys[2:]) - scores[2:], noise[:, 2:])


def test_the_noise_is_gumbel():
    """Falsely refused at a rate of 1e-7 (`assert_follows`)."""
    assert_follows(perturbed(torch.zeros(10), 400, 0), stats.gumbel_r.cdf)


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_each_image_is_scored_by_itself(relaxation):
    """Images in another order have their columns, and their places, in that order."""
    torch.manual_seed(0)
    sorter = Sorter((2, 8, 9), 4, relaxation)
    images, moved = torch.rand(6, 4, 2, 8, 9, generator=seeded(0)), torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        scores, other = sorter(images), sorter(images[:, moved])
        assert scores.shape == (6, 4 if relaxation == "sinkhorn" else 1, 4)
        torch.testing.assert_close(other, scores[..., moved])
        relaxed = sorter.relaxed(scores, 0.1)
        torch.testing.assert_close(sorter.relaxed(other, 0.1), relaxed[..., moved])
        assert torch.equal(moved[sorter.order(other)], sorter.order(scores))
    torch.testing.assert_close(relaxed.sum(-1), torch.ones(6, 4), atol=1e-3, rtol=0)


def test_relaxations_are_those_of_their_names():
    """Of the same scores, at the temperature asked for."""
    one, all_ = torch.randn(2, 5, 1, 3, generator=seeded(0)), torch.randn(2, 5, 3, 3)
    for name, relax in (("neural-sort", neural_sort), ("soft-sort", soft_sort)):
        got = Sorter((1, 8, 8), 3, name).relaxed(one, 0.7)
        assert torch.equal(got, relax(one[..., 0, :], 0.7))
    got = Sorter((1, 8, 8), 3, "sinkhorn").relaxed(all_, 0.7)
    assert torch.equal(got, sinkhorn(all_, 0.7)[0])


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_the_order_is_the_limit_of_the_relaxation(relaxation):
    """Where scores are clear: row i of the matrix peaks at the i-th image of the order."""
    order = torch.tensor([[2, 0, 3, 1], [3, 2, 1, 0]])
    place = order.argsort(-1)
    if relaxation == "sinkhorn":
        scores = 5 * nn.functional.one_hot(order, 4).float()
    else:
        scores = -place.float().unsqueeze(-2)
    sorter = Sorter((1, 8, 8), 4, relaxation)
    assert torch.equal(sorter.order(scores), order)
    peaks = sorter.relaxed(scores, 0.05)
    torch.testing.assert_close(peaks, nn.functional.one_hot(order, 4).float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_values_are_the_numbers_that_the_images_show(digits):
    """Of a batch and of the test set, the first digit worth most."""
    numbers = Numbers(dataset(), sequences=50, n=4, digits=digits)
    assert numbers.shape == (1, 4, 3 * digits)
    for images, values in (numbers.batch(numbers.train[:9], 0), numbers.test):
        assert images.shape == (len(values), 4, *numbers.shape)
        assert torch.equal(read(images, digits), values)
        assert len(values.unique()) > 5


def test_labels_above_nine_do_not_carry():
    """Twelve classes are digits to the base of twelve."""
    images = torch.rand(30, 1, 2, 2), torch.arange(30) % 12
    _, values = Numbers(LabelledImages("dozen", images, images), 1, n=2, digits=2).test
    assert torch.equal(values[:, 0] // 12, images[1])


def test_sequences_are_drawn_anew_by_the_key():
    """One key gives one sequence; over many, every image appears, in every position."""
    numbers = Numbers(dataset(), sequences=50, n=3, digits=1)
    assert torch.equal(numbers.train, torch.arange(50))
    first, again = (numbers.batch(torch.arange(5), 3)[1] for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (5, 3)
    single = LabelledImages("all", (torch.rand(20, 1, 2, 2), torch.arange(20)), written(3))
    _, values = Numbers(single, 1, n=2, digits=1).batch(torch.zeros(2000), torch.arange(2000))
    for column in values.T:  # 20 (19/20)^2000 < 1e-40: a false failure
        assert column.unique().tolist() == list(range(20))


def test_the_test_sequences_are_always_the_same():
    """One begins with each test image, in order, or with some evenly spread."""
    kept = Numbers(dataset(), sequences=50, n=3, digits=2).test
    torch.manual_seed(5)
    again = Numbers(dataset(), sequences=7, n=3, digits=2).test
    assert all(map(torch.equal, kept, again))
    assert torch.equal(kept[1][:, 0] // 10, dataset().test[1])


def test_some_test_images_suffice(monkeypatch):
    """Ten of thirty begin a sequence: every third."""
    monkeypatch.setattr(recipe, "TESTED", 10)
    _, values = Numbers(dataset(), sequences=50, n=3, digits=2).test
    assert torch.equal(values[:, 0] // 10, dataset().test[1][::3])


def test_a_perfect_score_sorts_everything_and_its_opposite_little(data, monkeypatch):
    """In percent, whatever the parts that are tested at a time."""
    task, _ = prepared(settings("sort", data=str(data)))
    task.sorter.network = Brightness()
    numbers = Numbers(dataset(), sequences=50, n=3, digits=2)
    monkeypatch.setattr(task_module, "PART", 7)
    step = step_of(numbers.test)
    assert task.evaluate(numbers.test, step) == {"permutations": 100, "ranks": 100}
    assert task.conclude(numbers.test, step) == {"permutations": 100, "ranks": 100}
    task.sorter.network = Brightness(-1.0)
    ascending = numbers.test[1].sort(-1).values
    right = ascending == ascending.flip(-1)
    expected = {
        "permutations": 100 * right.all(-1).double().mean().item(),
        "ranks": 100 * right.double().mean().item(),
    }
    assert task.evaluate(numbers.test, step) == pytest.approx(expected)
    assert expected["permutations"] < 10 < expected["ranks"]


@pytest.mark.parametrize("samples", [0, 3])
@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_the_loss_is_the_cross_entropy_of_the_relaxation(relaxation, samples, data):
    """At the step's temperature, with the step's noise; the trace ends in it."""
    given = {"relaxation": relaxation, "samples": samples, "tau": "linear:start=1,end=2,steps=10"}
    task, numbers = prepared(settings("sort", data=str(data), **given))
    batch = numbers.batch(numbers.train[:8], 0)
    step = step_of(batch, 5, seed=4)
    loss, metrics = task(batch, step)
    scores = perturbed(task.sorter(batch[0]), samples, step.keys)
    relaxed = task.sorter.relaxed(scores, 1.5)
    expected = cross_entropy(relaxed, sorting_matrix(batch[1])).mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(metrics["nats"], expected)
    right = right_ranks(batch[1], task.sorter.order(task.sorter(batch[0])))
    assert metrics["ranks"].item() == pytest.approx(100 * right.double().mean().item())
    assert task.settings_at(5) == {"tau": pytest.approx(1.5)}
    named = dict(task.trace(batch, step))
    assert list(named) == ["batch", "scores", "relaxed", "loss"]
    torch.testing.assert_close(named["loss"], loss)
    assert {"scores", "relaxed"} < set(task.causes)


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_a_run_learns_to_sort(relaxation, data, tmp_path):
    """Bright and dark images, whose two-digit numbers are 00, 01, 10 and 11."""
    run = make_run(tmp_path / "run", data, relaxation=relaxation, epochs=12, lr=0.01, samples=2)
    before = run.task.evaluate(run.data.test, step_of(run.data.test))
    assert before["permutations"] < 70
    assert trained(run)["permutations"] > 95


def test_a_resumed_run_ends_as_an_uninterrupted_one(data, tmp_path, monkeypatch):
    """Bit for bit, from a checkpoint within the second epoch."""
    trained(make_run(tmp_path / "whole", data, samples=1))
    after = Run.after

    def breaking(self, log, progress):
        after(self, log, progress)
        if self.step == 5:
            raise KeyboardInterrupt

    stopped = make_run(tmp_path / "stopped", data, samples=1, checkpoint_every=4)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "after", breaking)
        with pytest.raises(KeyboardInterrupt):
            trained(stopped)
    again = make_run(tmp_path / "stopped", data, samples=1)
    again.resume()
    assert (again.step, again.steps) == (4, 6)
    trained(again)
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "stopped"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *(({k: 0}, f"--{k}: expected at least 1, got 0") for k in
          ("sequences", "digits", "hidden", "epochs")),
        ({"digits": 10}, "--digits: expected at most 9, so that numbers stay exact, got 10"),
        ({"n": 1}, "--n: expected at least 2, got 1"),
        ({"samples": -1}, "--samples: expected at least 0, got -1"),
        ({"relaxation": "bubble"}, 'Invalid value "bubble" for --relaxation. Choose from: "neu.*'),
        ({"tau": 0}, "--tau: expected a temperature above 0, got 0 in step 0 of 0.*"),
        ({"tau": "nan"}, "constant: expected a finite number, got nan"),
        ({"tau": "linear:start=1,end=0,steps=5"}, "--tau: .* got 0 in step 5 of linear.*"),
        ({"tau": "x"}, "schedule: expected one of constant, linear, .*; got 'x'"),
        ({"data": "nowhere"}, "expected digits, mnist, or a path .*, got 'nowhere'"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_refused_before_any_file_is_made(changed, message, data):
    """Status 2, and one line."""
    before = sorted(data.parent.rglob("*"))
    outcome = reparam(*options("sort", **{"data": data, "out": data.parent / "run", **changed}))
    assert (outcome.status, outcome.out) == (2, "")
    assert re.fullmatch(rf"reparam: {message}\n", outcome.err), outcome.err
    assert sorted(data.parent.rglob("*")) == before


def test_missing_labels_are_the_works_failure(data):
    """Status 1, one line, no folder."""
    (data / "t10k-labels-idx1-ubyte").unlink()
    outcome = reparam(*options("sort", data=data, out=data.parent / "run"))
    assert (outcome.status, len(outcome.err.splitlines())) == (1, 1)
    assert "expected an IDX file named t10k-labels-idx1-ubyte" in outcome.err
    assert not (data.parent / "run").exists()


@pytest.mark.parametrize(
    ("n", "tau", "published"),
    [(3, "1", ("91.90", "94.50")), (4, "linear:start=2,end=1", None)],
)
def test_the_report_shows_the_published_row_beside_its_own(n, tau, published, data, tmp_path):
    """Where there is one for as many numbers; a temperature that changes has a figure."""
    out = tmp_path / "run"
    outcome = reparam(*options("sort", data=data, out=out, n=n, tau=tau))
    assert outcome.status == 0, outcome
    page = Page(out / "report.html")
    assert page.texts["title"] == ["sort on tiny"]
    changing = [] if tau == "1" else ["Temperature"]
    titles = ["Result", "Learning curves", *changing, "Sequences", "Confusion of ranks"]
    assert page.texts["h2"] == [*titles, "Settings"]
    (final,) = records(out, final=True)
    rows = page.rows()
    assert rows["ranks"] == f"{final['ranks']:.2f}"
    assert rows["permutations"] == f"{final['permutations']:.2f}"
    found = rows.get("published permutations"), rows.get("published ranks")
    assert found == (published or (None, None))
    assert page.texts["p"][0].startswith(f"Sequences of {n} numbers of 2 digits, drawn anew")
    assert page.texts["p"][1].startswith("12 sequences of held-out images")


def test_pictures_and_shares_are_those_of_the_order(data):
    """A perfect order: descending images, none named as wrong, and a diagonal of ranks."""
    task, _ = prepared(settings("sort", data=str(data)))
    task.sorter.network = Brightness()
    numbers = Numbers(dataset(), sequences=50, n=3, digits=2)
    with torch.no_grad():
        found = {s.title: s for s in sections(task, numbers, [])}
    assert found["Sequences"].note.endswith("Rows that are not in order: none.")
    given, ordered = (decoded(uri) for uri in re.findall(r'src="([^"]*)"', found["Sequences"].body))
    assert given.shape == ordered.shape == (1, 10 * 5, 3 * 7)
    corner = (numbers.test[0][:10, :, 0, 0, 0] * 255).round()
    assert torch.equal(given[0, ::5, ::7].float(), corner)
    tens = numbers.test[1][:10].sort(-1, descending=True).values // 10
    assert torch.equal(ordered[0, ::5, ::7].float(), (tens * 25.5).round())
    task.sorter.network = Brightness(-1.0)
    with torch.no_grad():
        found = {s.title: s for s in sections(task, numbers, [])}
    wrong = [i + 1 for i, v in enumerate(numbers.test[1][:10].tolist()) if len(set(v)) > 1]
    assert found["Sequences"].note.endswith(f"not in order: {', '.join(map(str, wrong))}.")
