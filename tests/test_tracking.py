"""What else is told the metrics: TensorBoard, and hooks of a person's own."""

import pytest

from reparam.training import metrics
from tiny_runs import options, records, reparam, write_images

HOOK = """
import json

def {name}(config):
    print("tracking", config["model"], config["batch"])

    def write(record):
        {body}
        with open(config["folder"] + "/{name}.jsonl", "a") as file:
            file.write(json.dumps(record) + "\\n")
        record.clear()

    return write
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with images in it."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "tiny.npy")
    return tmp_path


def tracked(here, name: str, body: str) -> str:
    """The name of a hook whose every call does this first."""
    (here / f"{name}.py").write_text(HOOK.format(name=name, body=body))
    return f"{name}.py:{name}"


def train(*more: str):
    """A run in the folder `run`."""
    return reparam(*options(data="tiny.npy"), "--out", "run", *more)


def test_tensorboard_shows_the_records(here):
    """The same numbers under the same steps, in single precision; nothing without the option."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator
    assert train("--tensorboard").status == 0
    events = accumulator("run/tensorboard")
    events.Reload()
    shown = {
        tag: {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]
    }
    expected: dict[str, dict[int, float]] = {}
    for record in records(here / "run"):
        for name in record.keys() - {"step", "epoch", "split", "final"}:
            expected.setdefault(f"{record['split']}/{name}", {})[record["step"]] = record[name]
    assert shown.keys() == expected.keys()
    for tag, values in expected.items():
        assert shown[tag] == pytest.approx(values, rel=1e-6)


def test_without_tensorboard_the_option_is_refused(here, monkeypatch):
    """With the command that installs it, before a folder is made."""
    monkeypatch.setattr(metrics, "find_spec", lambda name: None)
    outcome = train("--tensorboard")
    assert outcome.status == 2
    assert outcome.err.startswith("reparam: --tensorboard: expected tensorboard, ")
    assert "pip install 'reparam[tb]'" in outcome.err
    assert not (here / "run").exists()


def test_a_hook_is_given_every_record(here):
    """Copies of them: what it does to one changes nothing. Its config names model and folder."""
    outcome = train("--tracker", tracked(here, "all", "pass"))
    assert outcome.status == 0
    assert "tracking discrete-vae 16" in outcome.out
    kept = (here / "run" / "metrics.jsonl").read_text()
    assert (here / "run" / "all.jsonl").read_text() == kept
    assert '"final": true' in kept


def test_several_hooks_and_a_continued_run(here):
    """Each begins anew when the run goes on, and sees the records from there."""
    hooks = [part for name in ("one", "two") for part in ("--tracker", tracked(here, name, "pass"))]
    assert train(*hooks).status == 0
    outcome = reparam("train", "discrete-vae", "--out", "run", "--resume", *hooks)
    assert outcome.status == 0
    for name in ("one", "two"):
        lines = (here / "run" / f"{name}.jsonl").read_text().splitlines()
        assert len(lines) == len(set(lines)) + 1  # the final record, again


@pytest.mark.parametrize("body", ["raise OSError('no network')", "1 / 0"])
def test_a_failing_hook_does_not_end_the_run(here, body):
    """One warning, and the run is what it would have been."""
    assert train().status == 0
    kept = (here / "run" / "metrics.jsonl").read_text()
    hook = tracked(here, "bad", body)
    outcome = reparam(*options(data="tiny.npy"), "--out", "again", "--tracker", hook)
    assert outcome.status == 0
    assert (outcome.out + outcome.err).count("is given no more records, for it raised") == 1
    assert (here / "again" / "metrics.jsonl").read_text() == kept


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "--tracker: expected MODULE:FUNCTION or FILE.py:FUNCTION, got 'nothing'"),
        ("absent.py:hook", "--tracker: expected code that can be imported from absent.py"),
        ("json:absent", "--tracker: expected a function that json defines, got 'absent'"),
    ],
)
def test_a_hook_that_is_none_is_refused(here, name, said):
    """Before anything is trained."""
    outcome = train("--tracker", name)
    assert outcome.status == 2
    assert said in outcome.err
    assert not (here / "run").exists()
