"""`--config`: a run from a file, and from the config that a run leaves."""

import json
import re

import pytest

from tiny_runs import TINY, options, records, reparam, write_images

TOML = """
model = "discrete-vae"
data = "tiny.npy"
epochs = 2
batch = 16
hidden = 16
latents = 3
classes = 4
log-every = 1
iw_samples = 3
kl_weight = 0.5
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with images and a file of options in it."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "tiny.npy")
    (tmp_path / "run.toml").write_text(TOML)
    return tmp_path


def config(path) -> dict[str, object]:
    """Of a run folder."""
    return json.loads((path / "config.json").read_text())


@pytest.mark.parametrize(
    "command",
    [
        "train --config run.toml",
        "train --config=run.toml",
        "train --out a --config run.toml",
        "train discrete-vae --config run.toml",
    ],
)
def test_a_file_stands_for_its_options(here, command):
    """With the model named on the command line or in the file alone."""
    own = options(data="tiny.npy", kl_weight="0.5")
    assert reparam(*own, "--out", "by-options").status == 0
    out = [] if "--out" in command else ["--out", "a"]
    outcome = reparam(*command.split(), *out)
    assert outcome.status == 0, outcome.err
    assert config(here / "a") == config(here / "by-options")
    assert records(here / "a") == records(here / "by-options")


def test_the_command_line_comes_first(here):
    """Options given there hold against the file's."""
    assert (
        reparam(
            *["train", "--config", "run.toml", "--epochs", "1", "--seed", "5", "--out", "a"]
        ).status
        == 0
    )
    assert {k: config(here / "a")[k] for k in ("epochs", "seed", "batch")} == {
        "epochs": 1,
        "seed": 5,
        "batch": TINY["discrete-vae"]["batch"],
    }


def test_the_config_of_a_run_repeats_it(here):
    """Number for number."""
    assert reparam(*["train", "--config", "run.toml", "--seed", "3", "--out", "a"]).status == 0
    assert reparam(*["train", "--config", "a/config.json", "--out", "b"]).status == 0
    assert (here / "a" / "metrics.jsonl").read_text() == (here / "b" / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "run.toml: model: expected one of discrete-vae, .*, got None"),
        ('model = "vea"', "model: expected one of .*, got 'vea'; did you mean 'vae'?"),
        ('model = ["vae"]', r"model: expected one of .*, got \['vae'\]"),
        ("model = " + "[" * 9_000, "--config: expected a TOML or .json file, .*recursion"),
        ('model = "vae"\nepoch = 1', "expected one of .*, got 'epoch'; did you mean 'epochs'?"),
        ('model = "vae"\nepochs = "1"', "run.toml: epochs: expected an integer, got '1'"),
        ('model = "vae"\nepochs = 1.5', "run.toml: epochs: expected an integer, got 1.5"),
        ('model = "vae"\nepochs = true', "run.toml: epochs: expected an integer, got True"),
        ('model = "vae"\nepochs = 0', "--epochs: expected at least 1, got 0"),
        ('model = "vae"\nlog_every = 1\nlog-every = 2', "expected log_every once"),
        ('model = "vae"\ndevice = "gpu"', "expected one of auto, cpu, cuda, got 'gpu'"),
        ("model", "--config: expected a TOML or .json file, got run.toml: "),
    ],
)
def test_a_wrong_file_is_refused(here, text, said):
    """In one line that names the file or the option."""
    (here / "run.toml").write_text(text)
    outcome = reparam("train", "--config", "run.toml", "--out", "a")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    pattern = said.replace("?", r"\?")
    assert re.search(pattern, outcome.err), outcome.err
    assert not (here / "a").exists()


def test_a_file_of_another_model_is_refused(here):
    """The options would not fit."""
    outcome = reparam("train", "vae", "--config", "run.toml", "--out", "a")
    assert outcome.status == 2
    assert (
        "--config: expected options of vae, got run.toml, which is of discrete-vae" in outcome.err
    )


def test_a_missing_file_is_refused(here):
    """By its name."""
    outcome = reparam("train", "--config", "absent.toml")
    assert (outcome.status, outcome.out) == (2, "")
    assert "absent.toml: No such file or directory" in outcome.err
