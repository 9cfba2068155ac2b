"""The selecting autoencoder: its measures against other ways to them, its runs and its report."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from acceptance import seeded
from reparam.data import Images
from reparam.models.selector import Moments, PixelAutoencoder
from reparam.nn import ConcreteSelector
from reparam.recipes.lookup import prepared
from reparam.recipes.modes import anneal_to, settled
from reparam.recipes.select.task import SelectTask, published
from reparam.schedules import Linear
from reparam.training.folder import RunFolder
from reparam.training.loop import Run
from test_report import Page
from tiny_runs import (
    ALONE,
    checkpoint,
    equal,
    images,
    options,
    records,
    reparam,
    settings,
    step_of,
    trained,
    write_images,
)

TAU = Linear(2.0, 0.5, steps=4)


def rows(count, seed):
    """Five columns that depend on each other, one that never varies and one twice."""
    x = torch.randn(count, 3, generator=seeded(seed))
    mixed = torch.stack([x[:, 0], x[:, 1], x[:, 0] + x[:, 2], x[:, 1] - 2 * x[:, 2]], 1)
    return torch.cat([mixed, torch.full((count, 1), 0.3), x[:, :1]], 1) + 1


@pytest.mark.parametrize("selected", [[0], [1, 3], [0, 4, 5], [0, 1, 2, 3, 4, 5]])
def test_regression_is_that_of_least_squares(selected):
    """Of all rows with an intercept, by numpy; entries that repeat or never vary included."""
    train, test = rows(50, seed=0), rows(20, seed=1)

    def design(x):
        return np.column_stack([np.ones(len(x)), x[:, selected].double().numpy()])

    solution = np.linalg.lstsq(design(train), train.double().numpy(), rcond=None)[0]
    expected = np.square(design(test) @ solution - test.double().numpy()).mean()
    got = Moments.of(train, part=7).regression(torch.tensor(selected), test)
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_principal_components_are_those_of_the_svd(k):
    """Learned from the training rows, mean included, and applied to others."""
    train, test = rows(50, seed=0).double(), rows(20, seed=1).double()
    basis = np.linalg.svd((train - train.mean(0)).numpy())[2][:k]
    centred = (test - train.mean(0)).numpy()
    expected = np.square(centred - centred @ basis.T @ basis).mean()
    got = Moments.of(train.float()).principal(k, test.float())
    assert got == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_chance_is_the_mean_of_selections():
    """Different entries in each, which the generator decides."""
    moments, test = Moments.of(rows(50, seed=0)), rows(20, seed=1)
    generator = seeded(3)
    picks = [torch.randperm(6, generator=generator)[:2] for _ in range(4)]
    expected = sum(moments.regression(pick, test) for pick in picks) / 4
    assert moments.chance(2, test, seeded(3), draws=4) == pytest.approx(expected)


def test_a_decoder_begins_with_nothing():
    """And still has a gradient; the selection has one after the first step."""
    model = PixelAutoencoder((1, 2, 3), k=2, hidden=4)
    batch = torch.rand(5, 1, 2, 3, generator=seeded(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for reached in (False, True):
        decoded = model(batch, generator=seeded(1))
        assert decoded.shape == batch.shape
        assert reached == bool(decoded.any())
        optimizer.zero_grad()
        (decoded - batch).square().mean().backward()
        assert reached == bool(model.selector.logits.grad.any())
        optimizer.step()


def test_each_part_of_a_batch_has_a_selection_of_its_own():
    """Drawn one after the other from the step's generator, for the images in turn."""
    model = PixelAutoencoder((1, 2, 3), k=2, hidden=4)
    nn.init.normal_(model.decoder[-1].weight, generator=seeded(0))
    batch = torch.rand(5, 1, 2, 3, generator=seeded(0))
    got = model(batch, 2, generator=seeded(1))
    generator = seeded(1)
    first, second = (model.selector(batch.flatten(1), generator=generator) for _ in range(2))
    seen = torch.where(torch.arange(5)[:, None] % 2 == 0, first, second)
    torch.testing.assert_close(got, model.decoder(seen).view(5, 1, 2, 3))
    assert not torch.allclose(got[:3], model(batch[:3], generator=seeded(2)))
    rows = torch.tensor([3, 0])
    some = model(batch[rows], 2, rows=rows, generator=seeded(1))
    torch.testing.assert_close(some, got[rows])


def test_temperatures_are_those_of_the_step():
    """However often a forward is repeated, and whether or not the run was resumed."""
    selector = ConcreteSelector(4, 2, TAU)
    model = nn.Sequential(nn.Linear(4, 4), selector)
    for step in (0, 0, 1, 3, 3):
        anneal_to(step, model)
        assert (selector.temperature().item(), int(selector.temperature.steps)) == (
            TAU.at(step),
            step,
        )


def test_a_model_is_settled_for_a_while():
    """And then as it was, also after an error."""
    for before in (True, False):
        model = nn.Sequential(nn.Dropout()).train(before)
        with pytest.raises(ZeroDivisionError), settled(model):  # noqa: PT012 (two statements)
            assert not model[0].training
            1 / 0  # noqa: B018
        assert model.training == model[0].training == before


@pytest.fixture
def task():
    """A selector that keeps pixels 1 and 3 of 2 x 2, and a decoder of 1 / 2 everywhere."""
    train = torch.rand(9, 1, 2, 2, generator=seeded(0))
    test = torch.tensor([[0.5, 1.0, 0.0, 0.5], [0.5, 0.0, 1.0, 0.5]]).view(2, 1, 2, 2)
    model = PixelAutoencoder((1, 2, 2), k=2, hidden=3, tau=TAU)
    with torch.no_grad():
        model.selector.logits.copy_(torch.tensor([0.0, 99.0, 0.0, 99.0]))
        model.decoder[-1].bias.fill_(0.5)
    return SelectTask(model, 1, TAU, Images("tiny", train, test))


def test_the_evaluation_by_hand(task):
    """In thousandths: half of the pixels are off by a half; the selection is sure."""
    test = task.images.test
    got = task.evaluate(test, step_of(test))
    assert got["decoder"] == pytest.approx(1000 * 0.125)
    assert got["decided"] == 100
    moments = Moments.of(task.images.train.flatten(1))
    regression = 1000 * moments.regression(torch.tensor([1, 3]), test.flatten(1))
    assert got["regression"] == pytest.approx(regression)
    final = task.conclude(test, step_of(test))
    assert final["pca"] == pytest.approx(1000 * moments.principal(2, test.flatten(1)))
    chance = 1000 * moments.chance(2, test.flatten(1), seeded(0))
    assert final["random"] == pytest.approx(chance)
    assert task.training


def test_an_undecided_selection_is_said(task):
    """One pixel is sure, the other one of three alike: two thirds, within 7 standard deviations.

    False failures below 1e-9: 100 draws, each right in 1 or 2 of 2 with 2/3 and 1/3.
    """
    task.model.selector.logits.data = torch.tensor([0.0, 99.0, 0.0, 0.0])
    decided = task.evaluate(task.images.test, step_of(task.images.test))["decided"]
    assert decided == pytest.approx(100 * 2 / 3, abs=7 * 100 * (2 / 9 / 4 / 100) ** 0.5)


def test_the_loss_is_the_error_at_the_steps_temperature(task):
    """In training mode, with the masks of the step's generator."""
    nn.init.normal_(task.model.decoder[-1].weight, generator=seeded(0))
    batch = task.images.train
    task.masks = 3
    loss, metrics = task(batch, step_of(batch, 2, seed=4))
    assert task.model.selector.temperature().item() == TAU.at(2) == task.settings_at(2)["tau"]
    expected = (task.model(batch, 3, generator=seeded(4)) - batch).square().mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(metrics["decoder"], 1000 * expected.detach())


def test_a_published_result_stands_beside_its_own_data():
    """50 pixels of MNIST, and nothing else."""
    mnist = Images("mnist", torch.zeros(1, 1, 28, 28), torch.zeros(1, 1, 28, 28))
    assert published(mnist, 50) == {"published_regression": 26.0, "published_pca": 12.0}
    for other, k in ((mnist, 49), (images(), 50), (images(shape=(1, 28, 28)), 50)):
        assert published(other, k) == {}


def make_run(folder, data, **changed):
    """A run in a folder, not yet begun."""
    folder.mkdir(exist_ok=True)
    chosen = settings("select", data=str(data), **changed)
    return Run(*prepared(chosen), chosen, RunFolder(folder), ALONE)


def test_pixels_that_tell_something_are_found(tmp_path):
    """Three of 64, independent of each other; the others are black."""
    values = np.zeros((200, 64), dtype=np.uint8)
    values[:, [10, 33, 60]] = np.random.default_rng(0).integers(0, 256, (200, 3))
    np.save(tmp_path / "tiny.npy", values.reshape(-1, 8, 8))
    run = make_run(tmp_path / "run", tmp_path / "tiny.npy", k=3, epochs=30, lr=0.03, log_every=99)
    final = trained(run)
    assert run.task.model.selector.selected.tolist() == [10, 33, 60]
    assert final["decided"] > 50
    assert final["regression"] < 1e-6 < final["random"]


def test_a_resumed_run_ends_as_an_uninterrupted_one(tmp_path, monkeypatch):
    """Bit for bit, temperature included, from a checkpoint within an epoch."""
    data = write_images(tmp_path / "tiny.npy")
    trained(make_run(tmp_path / "whole", data))
    after = Run.after

    def breaking(self, log, progress):
        after(self, log, progress)
        if self.step == 5:
            raise KeyboardInterrupt

    stopped = make_run(tmp_path / "stopped", data, checkpoint_every=2)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "after", breaking)
        with pytest.raises(KeyboardInterrupt):
            trained(stopped)
    again = make_run(tmp_path / "stopped", data)
    again.resume()
    assert (again.step, again.steps) == (4, 6)
    trained(again)
    assert equal(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "stopped"))
    assert again.task.model.selector.temperature().item() == pytest.approx(0.01)


def test_the_trace_ends_in_the_loss(task):
    """In order, each with a cause, and with the step's randomness."""
    batch = task.images.train
    named = dict(task.trace(batch, step_of(batch)))
    assert list(named) == ["batch", "selected pixels", "reconstructions", "loss"]
    assert {name.split()[0] for name in named} - {"batch", "loss"} < set(task.causes)
    torch.testing.assert_close(named["loss"], task(batch, step_of(batch))[0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *(({k: 0}, f"--{k}: expected at least 1, got 0") for k in ("k", "masks", "hidden")),
        ({"k": 65}, "k: expected at most the 64 features, got 65"),
        ({"masks": 17}, "--masks: expected at most one for each image of a --batch of 16, got 17"),
        ({"tau": -1}, "tau: expected a temperature >= 0 .*, got -1.*"),
        ({"tau": "linear:start=1,end=-1"}, "tau: expected a temperature >= 0 .*, got -0.6.*"),
        ({"data": "nowhere"}, "expected digits, mnist, or a path .*, got 'nowhere'"),
    ],
)
def test_a_bad_argument_is_refused_before_any_file_is_made(changed, message, tmp_path):
    """Status 2, and one line."""
    data, out = write_images(tmp_path / "tiny.npy"), tmp_path / "run"
    outcome = reparam(*options("select", **{"data": data, "out": out, **changed}))
    assert (outcome.status, outcome.out) == (2, "")
    assert re.fullmatch(rf"reparam: {message}\n", outcome.err), outcome.err
    assert not out.exists()


def test_the_report_shows_the_pixels(tmp_path):
    """Errors side by side, the temperature, and pictures of pixels and reconstructions."""
    out = tmp_path / "run"
    outcome = reparam(*options("select", data=write_images(tmp_path / "tiny.npy"), out=out))
    assert outcome.status == 0, outcome
    page = Page(out / "report.html")
    assert page.texts["title"] == ["select on tiny.npy"]
    assert page.texts["h2"] == [
        *("Result", "Learning curves", "Temperature", "Pixels", "Reconstructions", "Settings")
    ]
    (final,) = records(out, final=True)
    names = ["decoder", "regression", "decided", "random", "pca"]
    shown = page.rows()
    assert {name: shown[name] for name in names} == {name: f"{final[name]:.2f}" for name in names}
    assert len(page.resources) == 4
    assert "The 5 pixels that are kept" in " ".join(page.texts["p"])
    assert "published" not in " ".join(page.texts["p"])
