"""The L0-regularized classifier: its counts and its loss by hand, its runs and its report."""

import math
import re

import pytest
import torch
from torch import nn

from acceptance import seeded
from reparam.data.labelled import LabelledImages
from reparam.models.lenet import L0LeNet, dense, linear_widths, weights
from reparam.nn import prune
from reparam.recipes.l0 import task as l0
from reparam.recipes.l0.published import published
from reparam.recipes.l0.task import L0Task, checked
from reparam.recipes.lookup import prepared
from reparam.training.folder import RunError, RunFolder
from reparam.training.loop import Run
from test_report import Page
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

WHOLE = 2 * 300 + 300 * 100 + 100 * 2
"""Weights of the network by hand."""
ODDS = 3.0
"""log alpha of an open gate is this, of a closed one minus this."""


@pytest.fixture
def network():
    """Two pixels that pass through two open units of each layer, with half their size in all."""
    made = L0LeNet((1, 1, 2), classes=2)
    with torch.no_grad():
        for layer in made.gated:
            layer.weight.zero_()
            layer.weight[:2, :2] = torch.eye(2)
            layer.bias.zero_()
            layer.gate.log_alpha.fill_(-ODDS)
            layer.gate.log_alpha[:2] = ODDS
    return made


def four(labels=(0, 1, 1, 0)):
    """Four images of two pixels, the brighter one first, second, second and second."""
    images = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.3, 0.4], [0.1, 0.2]]).view(4, 1, 1, 2)
    return images, torch.tensor(labels)


def tiny(name="tiny"):
    """The four images, for training and test."""
    return LabelledImages(name, four(), four())


def probability(log_alpha):
    """P(gate != 0) of Louizos et al. at their temperature and interval."""
    return 1 / (1 + math.exp(-(log_alpha - 2 / 3 * math.log(0.1 / 1.1))))


def test_counts_by_hand(network):
    """Open units, expected weights behind an open gate, and expected multiplications."""
    p, q = probability(ODDS), probability(-ODDS)
    open_ = [2 * p, 2 * p + 298 * q, 2 * p + 98 * q]
    assert network.widths() == [2, 2, 2]
    assert network.l0().tolist() == pytest.approx(
        [300 * open_[0], 100 * open_[1], 2 * open_[2]], rel=1e-5
    )
    expected = open_[0] * open_[1] + open_[1] * open_[2] + open_[2] * 2
    assert network.multiplications().item() == pytest.approx(expected, rel=1e-5)
    assert (weights(network), linear_widths(network)) == (WHOLE, [2, 300, 100])
    assert weights(prune(network.layers)) == 3 * 4


def test_gates_begin_as_published():
    """Pixels at a dropout rate of 0.2, hidden units at 0.5."""
    starts = [layer.gate.log_alpha.mean().item() for layer in L0LeNet((1, 28, 28), 10).gated]
    assert starts == pytest.approx([math.log(4), 0, 0], abs=0.01)


def test_the_loss_by_hand(network):
    """Cross-entropy with the step's gates, and each layer's strength over the training set."""
    task = L0Task(network, (0.5, 0.2, 3.0), tiny())
    loss, metrics = task(four(), step_of(four(), seed=1))
    images, labels = four()
    logits = network(images, generator=seeded(1))
    assert not torch.equal(logits, network(images, generator=seeded(2)))
    nats = nn.functional.cross_entropy(logits, labels).item()
    first, second, third = network.l0().tolist()
    assert loss.item() == pytest.approx(nats + (0.5 * first + 0.2 * second + 3 * third) / 4)
    assert metrics["nats"].item() == pytest.approx(nats)
    assert metrics["l0"].item() == pytest.approx(100 * (first + second + third) / WHOLE)
    assert not any(value.requires_grad for value in metrics.values())


def test_the_evaluation_by_hand(network):
    """One of four labels is not that of the brighter pixel; gates are those of eval mode."""
    task = L0Task(network, (1.0, 1.0, 1.0), tiny())
    got = task.evaluate(four(), step_of(four()))
    assert (got["error"], got["pixels"], got["hidden_1"], got["hidden_2"]) == (25, 2, 2, 2)
    assert got["l0"] == pytest.approx(100 * network.l0().sum().item() / WHOLE)
    expected = 100 * network.multiplications().item() / WHOLE
    assert got["multiplications"] == pytest.approx(expected)
    assert task.training
    final = task.conclude(four(labels=(1, 1, 1, 0)), step_of(four()))
    assert (final["error"], final["pruned_error"]) == (50, 50)
    assert final["pruned_weights"] == pytest.approx(100 * 12 / WHOLE)


def test_the_evaluation_has_no_noise():
    """Labels that are the predictions of eval mode are all right, near ties included."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        task = L0Task(L0LeNet((1, 4, 4), classes=10), (1.0, 1.0, 1.0), tiny())
    images = torch.rand(200, 1, 4, 4, generator=seeded(0))
    labels = task.network.eval()(images).argmax(1)
    assert task.train().evaluate((images, labels), step_of(images))["error"] == 0


def test_the_pruned_network_is_the_same(network):
    """And one that is not, or not a number, is refused."""
    images = four()[0]
    small = checked(network.layers, images)
    assert linear_widths(small) == [2, 2, 2]
    assert network.training
    torch.testing.assert_close(small(images), network.eval()(images))


@pytest.mark.parametrize("off", [2e-6, math.nan])
def test_another_network_is_refused(off, network, monkeypatch):
    """Though its logits differ by little."""

    def wrong(module):
        small = prune(module)
        small[-1].bias.data += off
        return small

    monkeypatch.setattr(l0, "prune", wrong)
    with pytest.raises(RunError, match="expected logits as before to 1e-06, got a difference of"):
        checked(network.layers, four()[0])


def test_a_published_result_stands_beside_its_own_data():
    """MNIST, not another set of its shape nor a part of it."""

    def mnist(name, count):
        images = torch.zeros(1, 1, 28, 28).expand(count, -1, -1, -1)
        part = images, torch.zeros(count, dtype=torch.int64)
        return LabelledImages(name, part, part)

    assert published(mnist("mnist", 60000))["published_error"] == 1.4
    assert published(mnist("mnist", 60000))["published_hidden_1"] == 214
    for other in (mnist("fashion", 60000), mnist("mnist", 59999), tiny("mnist")):
        assert published(other) == {}


def test_dense_layers_have_the_same_shape(network):
    """What is timed without gates has every weight."""
    plain = dense([*linear_widths(network.layers), 2])
    assert weights(plain) == WHOLE
    kinds = [nn.Flatten, nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert [type(layer) for layer in plain] == kinds


@pytest.fixture
def labelled(tmp_path):
    """A folder of two kinds of images with their labels."""
    return write_labelled(tmp_path / "tiny")


def make_run(folder, data, **changed):
    """A run in a folder, not yet begun."""
    folder.mkdir(exist_ok=True)
    chosen = settings("l0", data=str(data), **changed)
    return Run(*prepared(chosen), chosen, RunFolder(folder), ALONE)


def test_what_is_not_needed_closes(labelled, tmp_path):
    """Nearly all, where open weights are dear; images are still told apart."""
    given = {"epochs": 150, "lr": 0.03, "strength": "0.002", "log_every": 99, "seed": 1}
    run = make_run(tmp_path / "run", labelled, **given)
    final = trained(run)
    assert final["error"] == final["pruned_error"] == 0
    assert final["pixels"] < 32
    assert final["hidden_1"] < 150
    assert final["pruned_weights"] < 20
    assert final["l0"] < records(tmp_path / "run", split="test")[0]["l0"]


def test_strengths_are_those_of_the_layers(labelled):
    """One for all, or one for each."""
    one, _ = prepared(settings("l0", data=str(labelled), strength="0.3"))
    each, _ = prepared(settings("l0", data=str(labelled), strength="1, 2,0"))
    assert (one.strengths, each.strengths) == ((0.3, 0.3, 0.3), (1.0, 2.0, 0.0))


def test_a_resumed_run_ends_as_an_uninterrupted_one(labelled, tmp_path, monkeypatch):
    """Bit for bit, from a checkpoint within an epoch."""
    trained(make_run(tmp_path / "whole", labelled))
    after = Run.after

    def breaking(self, log, progress):
        after(self, log, progress)
        if self.step == 3:
            raise KeyboardInterrupt

    stopped = make_run(tmp_path / "stopped", labelled, checkpoint_every=3)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "after", breaking)
        with pytest.raises(KeyboardInterrupt):
            trained(stopped)
    again = make_run(tmp_path / "stopped", labelled)
    again.resume()
    assert (again.step, again.steps) == (3, 4)
    trained(again)
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "stopped"))


def test_the_trace_ends_in_the_loss(network):
    """In order, each with a cause, and with the step's randomness."""
    task = L0Task(network, (1.0, 2.0, 3.0), tiny())
    named = dict(task.trace(four(), step_of(four())))
    assert list(named) == ["batch images", "layer outputs", "l0", "loss"]
    assert {name.split()[0] for name in named} - {"batch"} == set(task.causes)
    torch.testing.assert_close(named["loss"], task(four(), step_of(four()))[0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"strength": "1,2"}, "--strength: expected a number of at least 0, or 3 with .*'1,2'"),
        ({"strength": "x"}, "--strength: expected a number of at least 0, .*, got 'x'"),
        ({"strength": -1}, "--strength: expected a number of at least 0, .*, got '-1'"),
        ({"strength": "nan"}, "--strength: expected a number of at least 0, .*, got 'nan'"),
        ({"strength": "inf"}, "--strength: expected a number of at least 0, .*, got 'inf'"),
        ({"data": "nowhere"}, "expected digits, mnist, or a path .*, got 'nowhere'"),
    ],
)
def test_a_bad_argument_is_refused_before_any_file_is_made(changed, message, labelled):
    """Status 2, and one line."""
    out = labelled.parent / "run"
    outcome = reparam(*options("l0", **{"data": labelled, "out": out, **changed}))
    assert (outcome.status, outcome.out) == (2, "")
    assert re.fullmatch(rf"reparam: {message}\n", outcome.err), outcome.err
    assert not out.exists()


def test_the_report_shows_what_is_left(labelled, tmp_path):
    """Units by layer, error and weights; published rows only beside their own data."""
    out = tmp_path / "run"
    outcome = reparam(*options("l0", data=labelled, out=out))
    assert outcome.status == 0, outcome
    page = Page(out / "report.html")
    assert page.texts["title"] == ["l0 on tiny"]
    assert page.texts["h2"] == ["Result", "What is left", "Learning curves", "Pixels", "Settings"]
    (final,) = records(out, final=True)
    rows = page.rows()
    assert rows["this run"] == "64-300-100"
    assert rows["error"] == f"{final['error']:.2f}"
    assert not any("L0, hard" in name for name in rows)
    assert "Pruned, 49,400 of 49,400 weights remain" in page.texts["p"][2]


def test_published_rows_stand_below_ours(network, monkeypatch):
    """Every one, in the report and, the first, on the console."""
    from reparam.recipes.l0 import report  # noqa: PLC0415

    monkeypatch.setattr(report, "published", lambda data: {"published_error": 1.4})
    task = L0Task(network, (1.0, 1.0, 1.0), tiny())
    record = {"step": 1, "split": "test", "pruned_error": 25.0, "published_error": 1.4}
    with torch.no_grad():
        result, left, *_ = report.sections(task, tiny(), [record])
    assert "published" not in result.body
    assert left.body.index("2-2-2") < left.body.index("219-214-100") < left.body.index("311-86-14")
    assert "25.00 % error" in left.body
