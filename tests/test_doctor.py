"""The doctor after the fact: run folders, foreign metrics, crashes, and every refusal."""

import json
import re

import pytest
from torch.utils.tensorboard import SummaryWriter

from reparam.cli.frame import console
from reparam.diagnostics.doctor import examination, examine, examine_function
from reparam.diagnostics.health import health
from reparam.diagnostics.records import observation, read
from test_report import Page
from tiny_runs import options, records, reparam, write_images

SIGNS = {"zero_share": 0.9}
SICK = "exploding gradient variance"


def logged(path, rows):
    """Records as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def sick(**more):
    """Records of a sick run of somebody else's."""
    return [{"step": step, **SIGNS, **more} for step in (100, 300, 400)]


@pytest.fixture
def plain(monkeypatch):
    """A console that wraps nothing."""
    monkeypatch.setattr(console, "_width", 400)


@pytest.mark.usefixtures("plain")
def test_a_crashed_run_is_explained(tmp_path):
    """The step, the tensor, the cause and the remedy, and that it never learned; exit status 1."""
    data, out = write_images(tmp_path / "tiny.npy"), tmp_path / "run"
    assert reparam(*options(data=data, out=out, lr=1e30)).status == 1
    (failure,) = records(out, split="failure")
    assert failure["final"]
    assert failure["step"] == 1
    outcome = reparam("doctor", out)
    assert (outcome.status, outcome.err) == (1, "")
    head, _, symptom, evidence, cause, remedy = outcome.out.splitlines()
    assert head.startswith(f"{out}: 1 found; ")
    assert symptom == "not a number"
    assert re.match(r"  evidence  step 1 \(epoch 1\): .* first non-finite tensor is \w+", evidence)
    assert cause.startswith("  cause     ")
    assert "--lr" in remedy
    assert reparam(*options(data=data, out=out, lr=1e30), "--resume").status == 1
    assert len(records(out, split="failure")) == 1


@pytest.mark.usefixtures("plain")
def test_a_short_run_is_not_called_sick(tmp_path):
    """It says how little it has seen; exit status 0."""
    data, out = write_images(tmp_path / "tiny.npy"), tmp_path / "run"
    assert reparam(*options(data=data, out=out)).status == 0
    outcome = reparam("doctor", out)
    said = f"{out}: nothing wrong; 9 observations up to step 6, and most sicknesses show after 300 "
    assert (outcome.status, outcome.out) == (0, said + "steps\n")


def test_json_holds_the_same(tmp_path):
    """Symptoms with their texts, what was looked at, and the same exit status."""
    outcome = reparam("doctor", logged(tmp_path / "run" / "metrics.jsonl", sick()), "--json")
    found = json.loads(outcome.out)
    assert outcome.status == 1
    assert (found["healthy"], found["observations"], found["step"]) == (False, 3, 400)
    (diagnosis,) = found["diagnoses"]
    assert diagnosis["symptom"] == SICK
    assert diagnosis["evidence"].startswith("step 400: 90% of the logits' gradient is exactly zero")
    assert set(diagnosis) == {"symptom", "evidence", "cause", "remedy"}
    healthy = logged(tmp_path / "well.jsonl", [{"step": 400, "zero_share": 0.0}])
    outcome = reparam("doctor", healthy, "--json")
    assert outcome.status == 0
    assert json.loads(outcome.out)["healthy"]


def test_metrics_of_others_are_read(tmp_path):
    """JSON lines or CSV, in a folder or alone; prefixes, gaps and unknown columns are nothing."""
    rows = "_step,step,train/zero_share,note,val/acc\n1,300,0.9,a,\n2,350,,b,0.5\n3,400,0.9,,0.5\n"
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "metrics.csv").write_text(rows)
    cut = logged(tmp_path / "cut" / "metrics.jsonl", sick())
    cut.write_text("epoch 1 of 2\n" + cut.read_text() + '{"step": 500, "zero_sh')
    for path in (tmp_path / "csv", tmp_path / "csv" / "metrics.csv", tmp_path / "cut", cut):
        found = examine(path)
        assert [d.symptom for d in found.diagnoses] == [SICK], path
        assert (found.observations, found.step) == (3, 400)


def test_tensorboard_events_are_read(tmp_path):
    """Of our own runs, as the run folder is; of others, with prefixes that we do not know."""
    pytest.importorskip("tensorboard")
    data, out = write_images(tmp_path / "tiny.npy"), tmp_path / "run"
    epochs = {"epochs": 140, "iw_samples": 1}  # steps enough for two observations after the 300th
    assert reparam(*options(data=data, out=out, tau=50, **epochs), "--tensorboard").status == 0
    (own, shown) = (examine(path) for path in (out, out / "tensorboard"))
    assert [d.symptom for d in shown.diagnoses] == [d.symptom for d in own.diagnoses] != []
    assert (shown.observations, shown.step) == (own.observations, own.step)
    with SummaryWriter(str(tmp_path / "other")) as board:
        for step in (300, 400):
            board.add_scalar("model/loss", 1.0, step)
            board.add_scalar("model/latent/zero_share", 0.9, step)
            board.add_scalar("model/latent/posterior_entropy", 0.5, step)
    (found,) = examine(tmp_path / "other").diagnoses
    assert found.symptom == SICK


def test_a_loss_that_is_nan_in_a_csv_is_named(tmp_path):
    """At its own step."""
    (tmp_path / "metrics.csv").write_text("step,loss\n1,3.5\n2,nan\n")
    (found,) = examine(tmp_path).diagnoses
    assert (found.symptom, found.evidence) == ("not a number", "step 2: loss is nan")


def test_what_is_over_is_not_reported():
    """A run that recovered is healthy, though it was warned of."""
    early = sick(split="vitals")
    late = [{"step": step, "zero_share": 0.0, "split": "vitals"} for step in (500, 600)]
    assert [d.symptom for d in examination("run", early).diagnoses] == [SICK]
    assert examination("run", early + late).healthy


def test_vital_signs_go_before_other_records():
    """Training and test records are judged where there are no vital signs, as of older runs."""
    place = {"epoch": 1, "split": "test", "kl": 5.0, "reconstruction": 100.0}
    test = [{"step": step, "bound": -105.0, "relaxed": -60.0, **place} for step in (300, 400)]
    assert [d.symptom for d in examination("run", test).diagnoses] == ["samples not hard"]
    signs = [{"step": 400, "split": "vitals", "zero_share": 0.0}]
    found = examination("run", test + signs)
    assert (found.healthy, found.observations) == (True, 1)


def test_an_observation_is_made_of_numbers_with_known_names():
    """The gap of a test is between its relaxed value and its bound."""
    record = {"step": 7.0, "split": "test", "bound": -3.0, "relaxed": -2.5, "kl": "0.5", "x": 1}
    assert observation(record) == (7, {"kl": 0.5, "gap": 0.5})
    assert observation({"step": "8", "tau_moves": 0.1, "loss": None}) == (8, {"tau_moves": 0.1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected records with a step in .*, got 0 records of nothing"),
        ('{"loss": 1}\n', "expected records with a step in .*, got 1 records of loss"),
        ('{"step": "x", "loss": 1}\n', "expected records with a step in .*, got 1 .* loss, step"),
        ('{"step": NaN, "loss": 1}\n', "expected records with a step in .*, got 1 .* loss, step"),
        ('{"step": 1e999, "loss": 1}\n', "expected records with a step in .*, got 1 .* loss, step"),
        ('{"step": 1, "x": 2}\n', "expected columns among loss, .* in .*, got step, x"),
    ],
)
def test_a_file_that_says_nothing_is_refused(text, message, tmp_path):
    """In one line, with what it should hold; exit status 2."""
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(ValueError, match=f"^doctor: {message}$"):
        read(tmp_path)
    outcome = reparam("doctor", tmp_path)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1)


FUNCTIONS = """
import torch
from torch.nn.functional import gumbel_softmax
constant = 3
def right(logits, tau):
    return gumbel_softmax(logits, tau, hard=True)
def wrong(logits, tau):
    soft = gumbel_softmax(logits, tau)
    hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
    return hard - soft + soft.detach()
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A file of functions in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_samplers.py").write_text(FUNCTIONS)
    (tmp_path / "broken_samplers.py").write_text("1 / 0")
    (tmp_path / "ending_samplers.py").write_text("raise SystemExit(3)")


@pytest.mark.usefixtures("code", "plain")
@pytest.mark.parametrize("home", ["own_samplers", "own_samplers.py"])
def test_a_function_is_examined_by_its_name(home):
    """Of a module or a file; exit status 0 or 1."""
    outcome = reparam("doctor", "--check", f"{home}:right")
    assert outcome.status == 0
    assert outcome.out.startswith(
        f"{home}:right (line 5): nothing wrong; in order: call, value, gradient, "
    )
    outcome = reparam("doctor", "--check", f"{home}:wrong")
    assert outcome.status == 1
    assert "wrong gradient\n  evidence  it is -1.000 times the right one" in outcome.out
    assert "`hard - soft + soft.detach()`\n  remedy    hard - soft.detach() + soft" in outcome.out


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "doctor: expected a run folder or --check FUNCTION, one of them"),
        (["run", "--check", "a:b"], "doctor: expected a run folder or --check .*"),
        (["gone"], "doctor: expected a folder with metrics.jsonl, .* got gone"),
        (
            ["--check", "right"],
            "--check: expected MODULE:FUNCTION or FILE.py:FUNCTION, got 'right'",
        ),
        (["--check", "own_samplers:"], "--check: expected MODULE:FUNCTION .*"),
        (["--check", "gone.py:right"], "--check: expected code .* gone.py, got FileNotFound.*"),
        (["--check", "no_such:f"], "--check: expected code .* got ModuleNotFoundError: .*"),
        (["--check", "broken_samplers:f"], "--check: .* got ZeroDivisionError: .*"),
        (["--check", "ending_samplers:f"], "--check: .* got SystemExit: 3"),
        (["--check", "own_samplers:left"], "--check: expected a function that .*, got 'left'"),
        (["--check", "own_samplers.py:constant"], "--check: expected a function .* 'constant'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    """Exit status 2, and one line."""
    outcome = reparam("doctor", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert re.fullmatch(f"reparam: {message}\n", outcome.err), outcome.err


@pytest.mark.usefixtures("code")
def test_importing_somebodys_code_leaves_the_path_alone():
    """Whether it works or not."""
    import sys  # noqa: PLC0415

    before = list(sys.path)
    assert examine_function("own_samplers.py:right").healthy
    with pytest.raises(ValueError, match="ZeroDivisionError"):
        examine_function("broken_samplers:f")
    assert sys.path == before


def test_the_report_has_a_section_on_health():
    """What is wrong, by its four texts, escaped; the last signs with what they mean."""
    (section,) = health(sick(split="vitals", epoch=0))
    assert section.title == "Health"
    assert section.note.startswith("What stands at the end of the run. Below, ")
    assert section.note.endswith(" after step 400.")
    assert f"<b>{SICK}</b>: step 400: 90% of the logits&#x27; gradient" in section.body
    assert "Remedy: --tau exponential:start=1,end=0.5" in section.body
    assert '<th scope="row">zero_share</th><td class="number">0.9</td>' in section.body
    (section,) = health([{"step": 400, "split": "vitals", "zero_share": 0.0}])
    assert section.note.startswith("Nothing wrong was found. ")
    assert not list(health([{"step": 400, "split": "train", "kl": 0.0}]))


@pytest.mark.usefixtures("plain")
def test_a_sick_run_says_so_everywhere(tmp_path):
    """On the console while it goes on, in its records, in its report, and by the doctor."""
    data, out = write_images(tmp_path / "tiny.npy"), tmp_path / "run"
    outcome = reparam(*options(data=data, out=out, epochs=134, tau=50, log_every=50))
    assert outcome.status == 0
    (warning,) = re.findall(r"^warning  .*", outcome.out, re.MULTILINE)
    assert warning.startswith("warning  gradient insensitive to logits: step 400: relaxed samples")
    assert warning.endswith("; try --tau exponential:start=1,end=0.5")
    page = Page(out / "report.html")
    assert page.texts["h2"][:2] == ["Result", "Health"]
    assert page.texts["b"] == ["gradient insensitive to logits"]
    assert page.rows()["sharpness"] == f"{records(out, split='vitals')[-1]['sharpness']:.3g}"
    assert reparam("doctor", out).status == 1
