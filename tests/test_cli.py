"""The command line: what is refused and how, what each estimator trains, and what help costs."""

import os
import re
import shlex
import signal
from unittest import mock

import pytest
import torch

import reparam as rp
from reparam.cli import frame
from reparam.recipes import MODELS
from reparam.recipes.lookup import prepared
from reparam.report.listing import summary
from reparam.training.loop import Run
from tiny_runs import (
    checkpoint,
    config,
    finished,
    options,
    records,
    reparam,
    settings,
    start,
    write_images,
)

COUNTS = ["epochs", "batch", "samples", "hidden", "latents", "log_every", "checkpoint_every"]
COUNTS += ["iw_samples", "threads"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with images in it."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "tiny.npy")
    return tmp_path


def refused(outcome, message: str, status: int = 2) -> None:
    """One line on stderr, and nothing else."""
    assert (outcome.status, outcome.out) == (status, ""), outcome
    assert re.fullmatch(rf"reparam: {message}\n", outcome.err), outcome.err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        *(({k: 0}, f"--{k.replace('_', '-')}: expected at least 1, got 0") for k in COUNTS),
        ({"classes": 1}, "--classes: expected at least 2, got 1"),
        ({"classes": 2**31}, "--classes: expected at most 2147483647, got 2147483648"),
        ({"epochs": "9" * 400}, "--epochs: expected at most 2147483647, got 9{400}"),
        ({"free_bits": "1e400"}, "--free-bits: expected at most 2147483647, got inf"),
        ({"threads": 1025}, "--threads: expected at most 1024, got 1025"),
        ({"devices": 1025}, "--devices: expected at most 1024, got 1025"),
        ({"data": ""}, "expected digits, mnist, or a path .*, got ''"),
        ({"lr": 0}, "--lr: expected a positive number below 1e37, got 0.0"),
        ({"lr": "nan"}, "--lr: expected a positive number below 1e37, got nan"),
        ({"free_bits": "nan"}, "--free-bits: expected at least 0, got nan"),
        ({"seed": -1}, r"--seed: expected an integer from 0 to 2\^63 - 1, got -1"),
        ({"seed": 2**63}, r"--seed: expected an integer from 0 to .*, got 9223372036854775808"),
        ({"epochs": "many"}, 'Invalid value for --epochs: unable to convert "many" into int.'),
        ({"binarize": "half"}, 'Invalid value "half" for --binarize. Choose from: "none", .*'),
        ({"encoder": "cnn"}, 'Invalid value "cnn" for --encoder. Choose from: "mlp", "conv".'),
        ({"epoch": 3}, "Unknown option: --epoch. Did you mean --epochs.*"),
        ({"estimator": "rlo"}, "estimator: expected one of .*; got 'rlo'; did you mean 'rloo'.*"),
        ({"estimator": "rloo"}, r"n: Rloo .* >= 2, got 1 \(--samples sets n\)"),
        ({"estimator": "gumbel-softmax:tau=-1"}, "tau: expected a temperature >= 0 .*, got -1.*"),
        ({"tau": -1}, "tau: expected a temperature >= 0 .*, got -1.*"),
        ({"tau": "linear:start=1,end=-1"}, "tau: expected a temperature >= 0 .*, got -0.6.*"),
        ({"estimator": "rloo", "tau": 1}, "--tau: expected an estimator with a temp.*; leave .*"),
        ({"estimator": "gumbel-softmax:tau=1", "tau": 1}, "--tau: expected one temp.*; leave .*"),
        ({"kl_weight": "x"}, "schedule: expected one of constant, linear, .*; got 'x'"),
        ({"kl_weight": "linear:start=0"}, "schedule: expected values for end=... after 'linear'"),
        ({"estimator": "enumerate", "latents": 30}, "q: expected a support of at most .*; use .*"),
        ({"data": "nowhere"}, "expected digits, mnist, or a path .*, got 'nowhere'"),
        ({"data": "small.npy", "encoder": "conv"}, "encoder: .* at least 4 x 4 .*; use 'mlp'"),
        ({"out": "tiny.npy"}, "--out: expected a folder that can be made, got tiny.npy .*"),
    ],
)
def test_a_bad_argument_is_refused_before_any_file_is_made(changed, message, here):
    """Status 2, and one line that says what was expected, what came and what to do."""
    write_images(here / "small.npy", shape=(3, 3))
    before = sorted(here.rglob("*"))
    given = {"data": "tiny.npy", "out": "run", **changed}
    refused(reparam(*options("discrete-vae", **given)), message)
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("learn", 'Unknown command "learn". Available commands: .*train.*'),
        ("train gan", 'Unknown command "gan". Available commands: discrete-vae, jigsaw, .*, vae.'),
        ("train vae --classes 3", "Unknown option: --classes.*"),
        ("train vae --epochs", ".*--epochs requires an argument."),
        ("train vae 7", r"Unused Tokens: \['7'\]."),
        ("train vae --resume", "--resume: expected --out RUN, the folder to continue, got none"),
        ("train vae --resume --out gone", "--out: expected a run folder .*, got gone; start .*"),
    ],
)
def test_a_bad_command_is_refused(command, message, here):
    """In the same form as a bad option."""
    refused(reparam(*command.split()), message)


@pytest.mark.parametrize(
    ("error", "message", "status"),
    [
        (KeyError("x"), "unexpected KeyError: 'x'; --debug shows where", 1),
        (MemoryError(), "expected less work at a time, got out of memory: .*; ask for less", 1),
        (RuntimeError("can't allocate memory: 9 bytes"), "expected less .*: 9 bytes; ask .*", 1),
    ],
)
def test_even_the_unforeseen_is_one_line(error, message, status, here, monkeypatch):
    """With the way to its traceback; and what has no memory says so."""
    monkeypatch.setattr("reparam.recipes.lookup.prepared", mock.Mock(side_effect=error))
    refused(reparam("train", "vae", "--data", "tiny.npy"), message, status)
    with pytest.raises(type(error)):
        reparam("train", "vae", "--data", "tiny.npy", "--debug")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_absent_is_refused(here):
    """And the CPU offered."""
    outcome = reparam(*options(data="tiny.npy", device="cuda"))
    refused(outcome, "--device: expected a CUDA GPU, got a machine without one; use cpu")


def test_unusable_data_is_the_works_failure(here):
    """Status 1: the argument was good, the file is not; no folder is made."""
    (here / "tiny.npy").write_bytes(b"no array")
    refused(reparam(*options(data="tiny.npy", out="run")), "tiny.npy: expected arrays .*", 1)
    assert not (here / "run").exists()


@pytest.mark.parametrize("kept", ["config.json", "checkpoint.pt", "metrics.jsonl"])
def test_a_folder_with_a_run_is_not_overwritten(kept, here):
    """Nor one that holds a part of a run, which would be continued in silence."""
    (here / "run").mkdir()
    (here / "run" / kept).touch()
    outcome = reparam(*options(data="tiny.npy", out="run"))
    refused(outcome, "--out: expected a folder without a run, got run, .*--resume, or .*")
    assert [p.name for p in (here / "run").iterdir()] == [kept]


def test_debug_shows_the_traceback(here):
    """The exception itself, whether the arguments or the work were wrong."""
    with pytest.raises(ValueError, match="--epochs: expected at least 1"):
        reparam(*options(epochs=0), "--debug")
    with pytest.raises(FileNotFoundError, match="got 'nowhere'"):
        reparam(*options(data="nowhere"), "--debug")


def test_too_many_processes_are_refused(here, monkeypatch):
    """Some would have no image of a batch or of the test set."""
    monkeypatch.setenv("WORLD_SIZE", "7")
    outcome = reparam(*options(data="tiny.npy", out="run"))
    refused(outcome, "--devices, --nodes: expected at most 6 processes, .* got 7; start fewer")


@pytest.mark.parametrize("name", rp.ESTIMATORS)
@pytest.mark.parametrize("model", ["discrete-vae", "vae"])
def test_every_estimator_trains_or_is_refused(model, name, here, monkeypatch):
    """As its claims say: a pathwise one needs the latent it differentiates, an exact one a sum."""
    monkeypatch.setattr("reparam.recipes.lookup.write_report", lambda *_: None)
    given = options(model, data="tiny.npy", out="run", estimator=name, epochs=1, samples=2)
    outcome = reparam(*given)
    if outcome.status:
        refused(outcome, "(q: expected .*, got .*|estimator: expected values for .*)")
        assert not (here / "run").exists()
        return
    (final,) = records(here / "run", final=True)
    assert final["bound"] < 0 < final["kl"]
    assert config(here / "run")["estimator"] == name
    assert checkpoint(here / "run")["step"] == 3


@pytest.mark.parametrize(
    ("model", "served"),
    [
        ("vae", ["pathwise", "score", "rloo"]),
        ("discrete-vae", ["gumbel-softmax", "straight-through", "score", "rloo", "enumerate"]),
    ],
)
def test_the_usual_estimators_are_served(model, served, here):
    """And others are refused: the vae has no relaxation, the discrete one no path."""
    for name in served:
        prepared(settings(model, data="tiny.npy", estimator=name, samples=2))
    other = "pathwise" if model == "discrete-vae" else "gumbel-softmax"
    with pytest.raises(TypeError, match="q: expected"):
        prepared(settings(model, data="tiny.npy", estimator=other, samples=2))


def test_a_run_without_a_name_takes_the_next_free_one(here):
    """Under runs/, by the model; the report is announced."""
    for number in (1, 2):
        outcome = reparam(*options("vae", data="tiny.npy", epochs=1))
        assert outcome.status == 0
        assert outcome.out.endswith(f"report: runs/vae-{number}/report.html\n")
    assert sorted(p.name for p in (here / "runs" / "vae-2").iterdir()) == [
        *("checkpoint.pt", "config.json", "metrics.jsonl", "report.html")
    ]


@pytest.mark.parametrize("place", [[], ["--out", "a run"], ["--out=a run"]])
def test_an_interrupted_run_says_how_to_go_on(place, here, monkeypatch):
    """Status 130, and a command that a shell can read: it finishes the run."""
    after = Run.after

    def interrupting(self, log, progress):
        after(self, log, progress)
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "after", interrupting)
        outcome = reparam(*options(data="tiny.npy"), *place)
    refused(outcome, "stopped after step 2 of 6; continue with: reparam train .*", 130)
    command = shlex.split(outcome.err.partition("continue with: ")[2])
    assert reparam(*command[1:]).status == 0
    (folder,) = here.glob("a run" if place else "runs/*")
    assert [r["step"] for r in records(folder, split="train")] == [1, 2, 3, 4, 5, 6]


def test_a_second_interrupt_stops_at_once(here, monkeypatch):
    """Status 130, and a message that the last checkpoint stands."""

    def interrupting(self, log, progress):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Run, "after", interrupting)
    outcome = reparam(*options(data="tiny.npy", out="run"))
    refused(outcome, "stopped at once; the last checkpoint is as it was", 130)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_list_names_every_estimator_and_its_reference(monkeypatch):
    """Each in a paragraph of its own: bias, definition and who published it, from the class."""
    monkeypatch.setattr(frame.console, "_width", 400)
    outcome = reparam("list")
    assert outcome.status == 0
    paragraphs = {}
    for text in re.split(r"\n(?=\S)", outcome.out):
        head, *body = text.splitlines()
        paragraphs[head.strip().partition(":")[0]] = " ".join(" ".join(body).split())
    assert list(paragraphs) == list(rp.ESTIMATORS)
    for name, cls in rp.ESTIMATORS.items():
        bias = "exact" if cls.exact else "unbiased" if cls.unbiased else "biased"
        assert paragraphs[name].startswith(f"{bias} | ")
        for text in summary(cls):
            assert len(text) > 20
            assert text in paragraphs[name]


def test_help_costs_no_torch():
    """Every page of it, in a process of its own: torch is never imported."""
    pages = [["--help"], ["train", "--help"], ["--version"]]
    pages += [["train", model, "--help"] for model in MODELS]
    program = (
        "import sys\nfrom reparam import cli\n"
        f"for page in {pages}:\n"
        "    sys.argv = ['reparam', *page]\n"
        "    try:\n        cli.main()\n"
        "    except SystemExit as end:\n        assert not end.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    outcome = finished(start("-c", program))
    assert (outcome.status, outcome.err) == (0, "")
    for word in ("list", "--estimator", "--tau", "--resume", f"reparam {rp.__version__}"):
        assert word in outcome.out
