"""The mixture of experts: its shares and its loss by hand, its runs and its report."""

import math
import re

import pytest
import torch
from torch.nn.functional import cross_entropy

from acceptance import seeded
from reparam.data.labelled import LabelledImages
from reparam.models.experts import ExpertClassifier, entropy, loads, loads_by_class
from reparam.nn import Routing, TopKRouter
from reparam.recipes.lookup import prepared
from reparam.recipes.router.report import sections
from reparam.recipes.router.task import RouterTask
from reparam.schedules import Linear
from reparam.training.folder import RunFolder
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

CHOICES = torch.tensor([[0, 2], [2, 0], [1, 2]])
SERVED = [
    *(("none", 1), ("none", 2), ("straight-through", 1), ("gumbel-softmax", 1), ("reinmax", 1)),
    *(("straight-through-gumbel-softmax", 2), ("score:baseline=moving-average", 2)),
]


def routing(indices=CHOICES, experts=4):
    """Three images, each on its way to two of four experts."""
    return Routing(indices, torch.ones(indices.shape), torch.zeros(len(indices), experts))


def images(count=6, seed=0):
    """Two pixels each, and labels in turn."""
    return torch.rand(count, 1, 1, 2, generator=seeded(seed)), torch.arange(count) % 2


def make_task(estimator=None, k=1, balance=0.0, tau=None):
    """Three experts for two pixels and two classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ExpertClassifier((1, 1, 2), 2, 5, TopKRouter(2, 3, k, estimator, tau))
    return RouterTask(model, balance, tau)


def test_loads_by_hand():
    """Of all choices; an expert that is never chosen has none."""
    assert loads(routing()).tolist() == pytest.approx([2 / 6, 1 / 6, 3 / 6, 0])


def test_loads_by_class_by_hand():
    """Each class's choices sum to one; a class without images has none."""
    shares = loads_by_class(routing(), torch.tensor([2, 0, 2]), classes=3)
    expected = [[1 / 2, 0, 1 / 2, 0], [0, 0, 0, 0], [1 / 4, 1 / 4, 2 / 4, 0]]
    torch.testing.assert_close(shares, torch.tensor(expected, dtype=torch.float64))


def test_entropy_by_hand():
    """In nats, of each row."""
    probs = torch.tensor([[0.25, 0.25, 0.5], [0.0, 1.0, 0.0]])
    assert entropy(probs).tolist() == pytest.approx([1.5 * math.log(2), 0])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_logits_are_the_experts_by_their_weights(k):
    """Those of the best k, each by its probability among all."""
    model = make_task(k=k).model.eval()
    batch, _ = images()
    got, chosen = model(batch)
    probs = (batch.flatten(1) @ model.router.linear.weight.T).softmax(-1)
    for row, image in enumerate(batch.flatten(1)):
        best = probs[row].topk(k).indices.tolist()
        expected = sum(probs[row, i] * model.experts[i](image) for i in best)
        torch.testing.assert_close(got[row], expected)
        assert sorted(chosen.indices[row].tolist()) == sorted(best)


def test_the_loss_is_the_choices_cost():
    """Cross-entropy with the estimator's gradient, and the balance of the batch by its weight."""
    task = make_task("score", balance=0.7)
    batch, labels = images()
    step = step_of(batch)
    loss, metrics = task((batch, labels), step)
    router = task.model.router.linear.weight
    (got,) = torch.autograd.grad(loss, router)
    logits, chosen = task.model(batch, key=step.keys)
    costs = cross_entropy(logits, labels, reduction="none")
    balance = chosen.load_balance()
    assert loss.item() == pytest.approx(costs.mean().item() + 0.7 * balance.item())
    log_p = chosen.logits.log_softmax(-1).gather(-1, chosen.indices).squeeze(-1)
    by_hand = (costs + costs.detach() * log_p).mean() + 0.7 * balance
    torch.testing.assert_close(got, torch.autograd.grad(by_hand, router)[0])
    assert metrics["nats"].item() == pytest.approx(costs.mean().item())
    assert metrics["balance"].item() == pytest.approx(balance.item())
    assert not any(value.requires_grad for value in metrics.values())


def test_the_evaluation_by_hand():
    """By the best experts, whatever the key; shares in percent."""
    task = make_task("score", balance=0.7)
    batch, labels = images()
    means = task.evaluate((batch, labels), step_of(batch))
    assert means == task.conclude((batch, labels), step_of(batch, seed=5))
    got = task.derived(means)
    logits, chosen = task.model.eval()(batch)
    assert got["error"] == pytest.approx(100 * (logits.argmax(-1) != labels).double().mean().item())
    assert got["nats"] == pytest.approx(cross_entropy(logits, labels).item())
    probs = chosen.logits.softmax(-1)
    assert got["entropy"] == pytest.approx(-(probs * probs.log()).sum(-1).mean().item(), rel=1e-5)
    assert got["balance"] == pytest.approx(chosen.load_balance().item())
    expected = (100 * loads(chosen)).tolist()
    assert [got[f"load_{i}"] for i in range(3)] == pytest.approx(expected)
    task.train()
    task.evaluate((batch, labels), step_of(batch))
    assert task.training


def test_the_temperature_is_that_of_the_step():
    """The router's, and what the records say."""
    task = make_task("gumbel-softmax", tau=Linear(2.0, 0.5, steps=4))
    for number in (0, 3, 3):
        task(images(), step_of(images(), number))
        expected = 2 - 1.5 * number / 4
        assert task.model.router.estimator().tau.item() == expected
        assert task.settings_at(number) == {"tau": expected}
    assert make_task("gumbel-softmax").settings_at(3) == {}


@pytest.fixture
def labelled(tmp_path):
    """A folder of two kinds of images with their labels."""
    return write_labelled(tmp_path / "tiny")


def make_run(folder, data, **changed):
    """A run in a folder, not yet begun."""
    folder.mkdir(exist_ok=True)
    chosen = settings("router", data=str(data), **changed)
    return Run(*prepared(chosen), chosen, RunFolder(folder), ALONE)


@pytest.mark.parametrize(("estimator", "k"), SERVED)
def test_images_are_told_apart(estimator, k, labelled, tmp_path):
    """With every kind of estimator that serves a router, for one expert or two at once."""
    run = make_run(tmp_path / "run", labelled, estimator=estimator, k=k, epochs=12, lr=0.03)
    final = trained(run)
    assert final["error"] == 0
    assert sum(final[f"load_{i}"] for i in range(3)) == pytest.approx(100)


def test_a_resumed_run_ends_as_an_uninterrupted_one(labelled, tmp_path, monkeypatch):
    """Bit for bit, temperature and baseline included, from a checkpoint within an epoch."""
    for name, given in (
        ("tau", {"estimator": "reinmax", "tau": "linear:start=2,end=0.5"}),
        ("score", {}),
    ):
        whole, part = tmp_path / f"{name}-whole", tmp_path / f"{name}-part"
        trained(make_run(whole, labelled, **given))
        after = Run.after

        def breaking(self, log, progress, after=after):
            after(self, log, progress)
            if self.step == 3:
                raise KeyboardInterrupt

        stopped = make_run(part, labelled, checkpoint_every=3, **given)
        with monkeypatch.context() as patch:
            patch.setattr(Run, "after", breaking)
            with pytest.raises(KeyboardInterrupt):
                trained(stopped)
        again = make_run(part, labelled, **given)
        again.resume()
        assert (again.step, again.steps) == (3, 4)
        trained(again)
        assert equal(checkpoint(whole), checkpoint(part))


def test_the_trace_ends_in_the_loss():
    """In order, each with a cause, and with the step's randomness."""
    task = make_task("score", balance=0.7)
    named = dict(task.trace(images(), step_of(images())))
    assert list(named) == ["batch images", "logits of the router", "logits", "balance", "loss"]
    assert {name.split()[0] for name in named} - {"batch"} < set(task.causes)
    torch.testing.assert_close(named["loss"], task(images(), step_of(images()))[0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *(({k: 0}, f"--{k}: expected at least 1, got 0") for k in ("k", "hidden")),
        ({"experts": 1}, "--experts: expected at least 2, got 1"),
        ({"k": 4}, "--k: expected at most the 3 --experts, got 4"),
        ({"balance": -1}, "--balance: expected at least 0, got -1.0"),
        ({"balance": "nan"}, "--balance: expected at least 0, got nan"),
        ({"estimator": "rlo"}, "estimator: expected one of .*; got 'rlo'; did you mean 'rloo'.*"),
        ({"estimator": "rloo"}, "n: Rloo .* >= 2, got 1; a router draws once, .*score:.*"),
        ({"estimator": "pathwise"}, "q: expected .*"),
        ({"estimator": "enumerate"}, "estimator: expected one .* at one point, got Enumerate.*"),
        ({"estimator": "none", "tau": 1}, "tau: expected an estimator= with a temp.*, got none"),
        ({"estimator": "score", "tau": 1}, "tau: expected an estimator with a temp.*; leave .*"),
        ({"estimator": "reinmax:tau=1", "tau": 1}, "--tau: expected one temp.*; leave .*"),
        (
            {"estimator": "reinmax", "tau": "linear:start=1,end=-1"},
            "tau: expected a temperature >= 0 .*, got -0.5.*",
        ),
        ({"data": "nowhere"}, "expected digits, mnist, or a path .*, got 'nowhere'"),
    ],
)
def test_a_bad_argument_is_refused_before_any_file_is_made(changed, message, labelled):
    """Status 2, and one line."""
    out = labelled.parent / "run"
    outcome = reparam(*options("router", **{"data": labelled, "out": out, **changed}))
    assert (outcome.status, outcome.out) == (2, "")
    assert re.fullmatch(rf"reparam: {message}\n", outcome.err), outcome.err
    assert not out.exists()


def test_the_report_shows_who_does_what(labelled, tmp_path):
    """The shares of every expert, over time and by class."""
    out = tmp_path / "run"
    outcome = reparam(*options("router", data=labelled, out=out, estimator="reinmax", tau=0.7))
    assert outcome.status == 0, outcome
    page = Page(out / "report.html")
    assert page.texts["title"] == ["router on tiny"]
    assert page.texts["h2"] == [
        *("Result", "Learning curves", "Temperature", "Load", "Use by class", "Settings")
    ]
    (final,) = records(out, final=True)
    rows = page.rows()
    for name in ("error", "nats", "entropy", "load_0", "load_2"):
        assert rows[name] == f"{final[name]:.2f}"
    assert "differentiated by reinmax" in page.texts["p"][0]


def test_idle_experts_are_said():
    """Those below a tenth of an even share: 3.3 % of three."""
    task = make_task()
    part = images()
    data = LabelledImages("tiny", part, part)
    load = {"load_0": 93.6, "load_1": 3.0, "load_2": 3.4}
    final = {"step": 1, "epoch": 1.0, "split": "test", **load}
    with torch.no_grad():
        notes = {s.title: s.note for s in sections(task, data, [final])}
        even = {**final, "load_0": 33.0, "load_1": 33.0, "load_2": 34.0}
        others = {s.title: s.note for s in sections(task, data, [even])}
    assert "1 of 3 experts are idle" in notes["Result"]
    assert "idle" not in others["Result"]
