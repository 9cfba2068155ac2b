"""The models of `reparam train`: what a folder must hold, and what follows from it alone."""

import math
from importlib import import_module

import pytest
import torch

from reparam.cli.train import command, train
from reparam.data import load
from reparam.recipes import MODELS
from reparam.recipes.lookup import prepared
from reparam.training.distributed import World
from reparam.training.folder import RunError, RunFolder
from reparam.training.loop import Run
from test_report import Page
from tiny_runs import (
    ALONE,
    checkpoint,
    config,
    equal,
    records,
    reparam,
    settings,
    trained,
    write_data,
    write_images,
)
from toy.settings import ToySettings


@pytest.fixture
def toy(monkeypatch):
    """The command line, with the model of `tests/toy` in the list."""
    monkeypatch.setitem(MODELS, "toy", ToySettings)
    command("toy", ToySettings)
    yield
    del train["toy"]


def toy_run(folder, world=ALONE, **changed):
    """A run of the toy, not yet begun."""
    chosen = ToySettings(batch=8, log_every=1, **changed)
    return Run(*prepared(chosen), chosen, RunFolder(folder), world)


def share(run):
    """What a process sees of the first batch."""
    chosen = next(run.batches())
    return run.seen(0, chosen, *run.parts(chosen))


def test_every_model_is_a_command():
    """In the order of the list, under its name."""
    commands = [name for name in train if not name.startswith("-")]
    assert commands == list(MODELS)


@pytest.mark.parametrize("kind", MODELS.values(), ids=MODELS)
def test_every_model_has_a_folder_of_its_own(kind):
    """With its settings, how to prepare it, and what to report."""
    folder, _, name = kind.__module__.rpartition(".")
    assert name == "settings"
    assert folder.startswith("reparam.recipes.")
    assert callable(import_module(f"{folder}.task").prepare)
    assert callable(import_module(f"{folder}.report").sections)


@pytest.mark.usefixtures("toy")
def test_help_is_the_words_of_the_settings():
    """The docstring of the class, and below each field, the default of the subclass included."""
    said = " ".join(reparam("train", "toy", "--help").out.replace("│", " ").split())
    assert "Train a classifier of counted words." in said
    assert "--words INT Words in the dictionary. [default: 5]" in said
    assert "--epochs INT Few passes suffice. [default: 3]" in said
    assert "--batch INT Examples per step, over all processes. [default: 128]" in said
    assert "Train a classifier of counted words." in reparam("train", "--help").out


@pytest.mark.usefixtures("toy")
def test_a_folder_is_all_that_a_model_needs(tmp_path):
    """Options, console, records, checkpoint, config and refusals come with it."""
    out = tmp_path / "run"
    given = ["train", "toy", "--out", out, "--batch", 8]
    outcome = reparam(*given, "--words", 4)
    assert outcome.status == 0, outcome
    *epochs, done, report = outcome.out.splitlines()
    (final,) = records(out, final=True)
    assert [line.split()[:3] for line in epochs] == [["epoch", str(n), "test"] for n in (1, 2, 3)]
    assert done == f"done  test  right {final['right']:.2f}  documents 9.00"
    assert report == f"report: {out / 'report.html'}"
    assert (config(out)["model"], config(out)["words"], final["step"]) == ("toy", 4, 9)
    before = checkpoint(out)
    assert reparam(*given, "--resume").status == 0
    assert equal(before, checkpoint(out))
    assert "it has words=4 (not 3)" in reparam(*given, "--words", 3, "--resume").err
    assert "Did you mean --words" in reparam("train", "toy", "--word", 3).err
    assert "--words: expected at least 2, got 1" in reparam("train", "toy", "--words", 1).err


@pytest.mark.usefixtures("toy")
def test_a_model_makes_its_report_of_common_sections(tmp_path):
    """Its metrics with its remarks; a schedule that the run does not have is left out."""
    assert reparam("train", "toy", "--out", tmp_path / "run", "--log-every", 1).status == 0
    page = Page(tmp_path / "run" / "report.html")
    assert page.texts["title"] == ["toy on <documents>"]
    assert page.texts["h2"] == ["Result", "Learning curves", "Noise", "Gradients", "Settings"]
    subtitle, results, _, noise, gradients, _ = page.texts["p"]
    assert subtitle == "Counted by hand."
    assert results == "Of held-out documents."
    assert noise == "From 1 to 0.333 over the run."
    assert gradients == "False"
    (final,) = records(tmp_path / "run", final=True)
    rows = page.rows()
    assert rows["right"] == f"{final['right']:.2f}"
    assert (rows["documents"], rows["words"], rows["log-every"]) == ("9.00", "5", "1")
    assert page.texts["td"][1] == "<percent>"
    assert "step" not in rows


def test_labels_stay_with_their_rows(tmp_path):
    """Two processes share a batch and the test set; a label is its row's number modulo two."""
    runs = [toy_run(tmp_path, World(rank, 2, torch.device("cpu"))) for rank in (0, 1)]
    for take, size in ((share, 8), (lambda run: run.held_out()[0], 9)):
        parts = [take(run) for run in runs]
        assert all(torch.equal(counts[:, 0] % 2, labels) for counts, labels in parts)
        seen = torch.cat([counts[:, 0] for counts, _ in parts]).tolist()
        assert len(set(seen)) == len(seen) == size
    assert sorted(seen) == list(range(9))


def test_examples_are_counted_not_tensors(tmp_path):
    """Of a pair of tensors: 24 examples make three batches of eight, and an epoch visits all."""
    run = toy_run(tmp_path, epochs=1)
    assert (run.steps_per_epoch, run.steps) == (3, 3)
    seen = []
    for chosen in run.batches():
        counts, _ = run.seen(0, chosen, torch.arange(8))
        seen += counts[:, 0].tolist()
        run.step += 1
    assert sorted(seen) == list(range(24))


def test_all_tensors_of_a_batch_go_to_the_device(tmp_path):
    """Those of a step and those of a test."""
    run = toy_run(tmp_path)
    run.world = World(0, 1, torch.device("meta"))
    for batch in (share(run), run.held_out()[0]):
        assert [tensor.device.type for tensor in batch] == ["meta", "meta"]
    assert run.at(0, 0, torch.arange(3)).keys.device.type == "meta"


@pytest.mark.parametrize(
    ("break_", "said"),
    [
        (lambda run: run.data.train[0].fill_(math.inf), "batch counts .*the data holds it"),
        (lambda run: run.task.linear.weight.data.fill_(3e38), "logits .*it overflowed; lower --lr"),
        (
            lambda run: run.task.linear.weight.register_hook(lambda grad: grad * math.nan),
            "gradients linear.weight .*the toy broke; mend it",
        ),
    ],
)
def test_a_cause_is_the_tasks_own_or_the_general_one(break_, said, tmp_path):
    """Its own before that of every task, and a word for a tensor that none explains."""
    run = toy_run(tmp_path)
    break_(run)
    with pytest.raises(RunError, match=f"first non-finite tensor is {said}"):
        trained(run)


@pytest.mark.parametrize("model", MODELS)
def test_initial_parameters_depend_on_the_seed_alone(model, tmp_path):
    """Whatever torch's global generator has drawn, which is left as it was."""
    data = write_data(model, tmp_path)
    tasks = []
    for seed, others in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(others)
        before = torch.get_rng_state()
        tasks.append(prepared(settings(model, data=str(data), seed=seed))[0].state_dict())
        assert torch.equal(before, torch.get_rng_state())
    assert equal(tasks[0], tasks[1])
    assert not equal(tasks[0], tasks[2])


@pytest.mark.parametrize("binarize", ["static", "dynamic"])
def test_images_are_those_of_the_settings(binarize, tmp_path):
    """Their file, how their pixels are treated, and the seed of pixels that are drawn."""
    data = str(write_images(tmp_path / "tiny.npy"))
    _, found = prepared(settings(data=data, binarize=binarize, seed=3))
    expected = load(data, binarize=binarize, seed=3)
    assert torch.equal(found.train, expected.train)
    assert torch.equal(found.test, expected.test)
    assert found.redraw == (binarize == "dynamic")


def test_as_many_processes_as_examples_are_taken(monkeypatch):
    """Nine documents are tested; batches may be smaller still."""
    monkeypatch.setenv("WORLD_SIZE", "9")
    prepared(ToySettings())
    for given, most in (({"batch": 8}, 8), ({}, 9)):
        monkeypatch.setenv("WORLD_SIZE", str(most + 1))
        with pytest.raises(ValueError, match=f"at most {most} processes, one for each example"):
            prepared(ToySettings(**given))
