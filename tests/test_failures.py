"""What goes wrong with a run: numbers, disks, files and signals, and what it leaves and says."""

import math
import os
import signal
import threading

import pytest
import torch

from reparam.data import Images
from reparam.recipes.config import kept
from reparam.training.folder import RunError, RunFolder
from reparam.training.loop import Run
from reparam.training.stop import stop_requests
from tiny_runs import (
    checkpoint,
    equal,
    images,
    make_run,
    options,
    records,
    reparam,
    settings,
    trained,
    write_images,
)


def poison(run: Run, name: str, value: float = math.nan) -> None:
    """Fill a parameter."""
    run.task.get_parameter(name).data.fill_(value)


@pytest.mark.parametrize(
    ("break_", "said"),
    [
        (
            lambda run: poison(run, "vae.encoder.1.weight"),
            r"parameters vae.encoder.1.weight \(1024 of",
        ),
        (lambda run: poison(run, "vae.encoder.1.weight", 3e38), "posterior features .*encoder ov"),
        (
            lambda run: poison(run, "vae.decoder.2.bias", 3e38),
            "reconstruction .*decoder overflowed",
        ),
        (lambda run: setattr(run.task.kl_weight, "constant", math.inf), "loss .*lower --kl-weight"),
        (lambda run: run.data.train.fill_(math.nan), "batch .*the data holds it"),
    ],
)
def test_a_loss_that_is_not_finite_stops_the_run(break_, said, tmp_path):
    """Naming the step, the first tensor and the cause; the step is not taken, the file stays."""
    run = make_run(tmp_path, settings("vae", kl_weight="1", binarize="none"), plain())
    trained(run)
    run.step, run.steps = 3, 6
    break_(run)
    before = checkpoint(tmp_path)
    weights = {k: v.clone() for k, v in run.task.state_dict().items()}
    message = rf"^step 3 \(epoch 2\): expected a finite .*first non-finite tensor is {said}"
    with pytest.raises(RunError, match=message) as stopped:
        trained(run)
    assert str(stopped.value).endswith(f"the last good checkpoint is {run.folder.checkpoint}")
    assert equal(before, checkpoint(tmp_path))
    assert all(torch.equal(v.nan_to_num(), weights[k].nan_to_num()) for k, v in current(run))


def plain() -> Images:
    """Images whose pixels are as they are."""
    data = images()
    return Images("plain", data.train, data.test)


def current(run: Run) -> list[tuple[str, torch.Tensor]]:
    """The parameters and buffers by name."""
    return list(run.task.state_dict().items())


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path):
    """Though the loss is finite; without a checkpoint it says so."""
    run = make_run(tmp_path, settings("vae"))
    weight = run.task.vae.encoder[1].weight
    weight.register_hook(lambda grad: grad * math.inf)
    with pytest.raises(RunError, match=r"gradients vae.encoder.1.weight .*there was no checkpoint"):
        trained(run)


def test_a_diverging_run_exits_with_its_last_good_checkpoint(tmp_path):
    """From the command line: status 1, one line, and a checkpoint that resumes to the same end."""
    data, out = write_images(tmp_path / "tiny.npy"), tmp_path / "run"
    given = options(data=data, out=out, lr=1e30, checkpoint_every=1)
    first = reparam(*given)
    assert (first.status, first.err.count("\n")) == (1, 1)
    assert first.err.startswith("reparam: step 1 (epoch 1): expected a finite loss and gradient")
    assert "lower --lr" in first.err
    assert checkpoint(out)["step"] == 1
    assert reparam(*given, "--resume") == first


def test_a_crash_while_saving_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    """Half a new file is written, and the run goes on from the whole old one."""
    run = make_run(tmp_path, settings())
    trained(run)
    before = checkpoint(tmp_path)

    def crash(state, file):
        file.write(b"half")
        raise OSError("no space left on device")

    run.step += 1
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", crash)
        with pytest.raises(OSError, match="no space"):
            run.save()
    assert equal(before, checkpoint(tmp_path))
    again = make_run(tmp_path, settings())
    again.resume()
    assert again.step == 6


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda p: p.write_bytes(b""), "a file that torch cannot read .*delete it"),
        (
            lambda p: p.write_bytes(p.read_bytes()[:900]),
            "a file that torch cannot read .*delete it",
        ),
        (lambda p: torch.save({"weights": torch.ones(3)}, p), "of this run's model, got another"),
        (lambda p: torch.save([1, 2], p), "of this run's model, got another"),
        (lambda p: torch.save({}, p), "of this run's model, got another"),
        (
            lambda p: torch.save({"task": {}, "step": 1}, p),
            "this run's model, got another .*Missing",
        ),
    ],
)
def test_a_checkpoint_that_is_none_is_refused(write, said, tmp_path):
    """Empty, cut short, foreign, of another kind: each is one sentence, and the metrics stay."""
    trained(make_run(tmp_path, settings()))
    before = (tmp_path / "metrics.jsonl").read_bytes()
    write(tmp_path / "checkpoint.pt")
    message = rf"(?s)checkpoint.pt: expected a checkpoint,? .*{said}"
    with pytest.raises(RunError, match=message):
        make_run(tmp_path, settings()).resume()
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_checkpoint_of_other_sizes_is_refused(tmp_path):
    """The sizes are in the message, which is one line though torch's has many; status 1."""
    data = write_images(tmp_path / "tiny.npy")
    for name, hidden in (("run", 16), ("other", 8)):
        given = options(data=data, out=tmp_path / name, hidden=hidden)
        assert reparam(*given).status == 0
    (tmp_path / "other" / "checkpoint.pt").replace(tmp_path / "run" / "checkpoint.pt")
    outcome = reparam("train", "discrete-vae", "--out", tmp_path / "run", "--resume")
    assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    assert "expected a checkpoint of this run's model, got another" in outcome.err
    assert "size mismatch" in outcome.err


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        "{}",
        '{"model": "gan"}',
        '{"model": "vae", "x": 1}',
        '{"model": "vae", "epochs": 0}',
        '{"model": "vae", "epochs": "x"}',
    ],
)
def test_a_config_that_is_none_is_refused(text, tmp_path):
    """With the file's name, and what it should be."""
    folder = RunFolder(tmp_path)
    folder.config.write_text(text)
    with pytest.raises(RunError, match=r"config.json: expected the config of a run; ."):
        kept(folder)


def test_a_line_cut_in_half_is_forgotten(tmp_path):
    """The records after the checkpoint go, the half line goes, the others stay as they are."""
    trained(make_run(tmp_path, settings()))
    lines = (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    assert len(records(tmp_path)) == len(lines) - 1
    again = make_run(tmp_path, settings())
    again.resume()
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"".join(lines[:-1])
    trained(again)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"".join(lines)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_stops(number):
    """Handlers are put back in either case."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_requests() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    with pytest.raises(RuntimeError), stop_requests():
        raise RuntimeError
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_other_threads_are_never_asked(tmp_path):
    """A run trains in a thread, where Python sets no handlers."""
    results = []
    thread = threading.Thread(
        target=lambda: results.append(trained(make_run(tmp_path, settings())))
    )
    thread.start()
    thread.join(60)
    assert "bound_3" in results[0]
