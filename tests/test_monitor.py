"""Live warnings: every sickness is made on purpose and named, its remedy cures it, health is quiet.

A run is 400 steps of digits, so that the vital signs of steps 300 and 400 are judged. Runs are
functions of their seeds: what passes once passes always.
"""

import io
import re

import pytest
import torch
from rich.console import Console
from torch.distributions import Independent, OneHotCategorical
from torch.nn.functional import one_hot

import reparam as rp
from reparam.data import Images, load
from reparam.diagnostics import vitals
from reparam.diagnostics.doctor import examine
from reparam.diagnostics.sicknesses import SICKNESSES
from reparam.models import VAE, CategoricalLatent
from reparam.recipes.vae.vitals import vital_signs
from reparam.training import loop
from reparam.training.progress import Progress
from reparam.training.stop import Interrupted
from tiny_runs import equal, images, make_run, records, settings, trained

STEPS, BATCH = 400, 64
SIZE = {"epochs": 1, "batch": BATCH, "lr": 0.003, "hidden": 64, "latents": 8, "log_every": 100}
WARM = {"kl_weight": "linear:start=0,end=1"}
SOFT = {"estimator": "gumbel-softmax"}
ANNEAL = {"tau": "exponential:start=1,end=0.5"}
HARDEN = {"tau": "exponential:start=1,end=0.1"}
STILL = "exponential:start=1,end=0.5,rate=1e-5"
STRAIGHT = {"estimator": "straight-through-gumbel-softmax"}
FEW = {"kl_weight": "0", "lr": 0.01, "latents": 4, "classes": 5}
SICK = [
    ("schedule that never moves", {**WARM, "tau": STILL}, ANNEAL),
    ("schedule that never moves", {**WARM, "tau": STILL + ",every=1000"}, ANNEAL),
    ("exploding gradient variance", {**WARM, "tau": "0.01"}, ANNEAL),
    ("exploding gradient variance", {**WARM, "tau": "0.001"}, {"tau": "0.5"}),
    ("gradient lost in noise", {"estimator": "score"}, {"estimator": "rloo", "samples": 4}),
    ("gradient lost in noise", {**WARM, "estimator": "score"}, STRAIGHT),
    ("gradient insensitive to logits", {**WARM, "tau": "20"}, ANNEAL),
    ("gradient insensitive to logits", {**WARM, **SOFT, "tau": "100"}, ANNEAL),
    ("samples not hard", {**WARM, **SOFT, "tau": "2", "lr": 0.005}, STRAIGHT),
    ("samples not hard", {**WARM, **SOFT, "tau": "2", "lr": 0.005}, HARDEN),
    ("collapse onto few codes", FEW, {"kl_weight": "1"}),
    ("latent carries nothing", {"kl_weight": "20"}, {"kl_weight": "1"}),
    ("latent carries nothing", {"kl_weight": "20"}, {"free_bits": 0.25}),
    ("posterior collapse", {"kl_weight": "30"}, WARM),
]
"""The sickness, the options that make it, and those of its remedy."""
HEALTHY = [
    *(("discrete-vae", {"seed": seed, "lr": 0.001}) for seed in range(2)),
    *(("discrete-vae", {"seed": seed, **SOFT, "lr": 0.001}) for seed in range(2)),
    *(("discrete-vae", {"seed": seed, **WARM}) for seed in range(3)),
    *(("discrete-vae", {"seed": seed, **WARM, **SOFT}) for seed in range(2)),
    *(("discrete-vae", {"seed": seed, **WARM, "tau": "0.1"}) for seed in range(2)),
    ("discrete-vae", {**WARM, "estimator": "straight-through"}),
    ("discrete-vae", {**WARM, "estimator": "gapped-straight-through"}),
    ("discrete-vae", {**WARM, "estimator": "reinmax"}),
    ("discrete-vae", {**WARM, "estimator": "rloo", "samples": 2}),
    ("discrete-vae", {**WARM, "estimator": "rebar"}),
    ("discrete-vae", {"estimator": "vimco", "samples": 4}),
    *(("vae", {"seed": seed}) for seed in range(3)),
    ("vae", {"estimator": "dreg", "samples": 2}),
    ("vae", {"posterior": "dirichlet"}),
    ("vae", {"prior": "mixture"}),
]


@pytest.fixture(scope="module")
def data() -> Images:
    """Digits, as many as 400 steps see once."""
    digits = load("digits", binarize="dynamic", seed=0)
    copies = -(-STEPS * BATCH // len(digits.train))
    train = digits.train.repeat(copies, 1, 1, 1)[: STEPS * BATCH]
    return Images("digits", train, digits.test, redraw=True)


def symptoms(folder, data, model, **options):
    """Train: what the console warned of, and what the doctor finds afterwards."""
    classes = {"classes": 8} if model == "discrete-vae" else {}
    run = make_run(folder, settings(model, **{**SIZE, **classes, **options}), data)
    said = io.StringIO()
    with Progress(Console(file=said)) as progress:
        run.train(progress)
    warned = re.findall(r"^warning  (.*?): step \d+: ", said.getvalue(), re.MULTILINE)
    return warned, [d.symptom for d in examine(folder).diagnoses]


@pytest.mark.parametrize(("sickness", "sick", "remedy"), SICK)
def test_a_sickness_is_named_and_its_remedy_cures_it(sickness, sick, remedy, data, tmp_path):
    """By its own name and no other, once, live and afterwards; then by none."""
    model = "vae" if sickness == "posterior collapse" else "discrete-vae"
    assert symptoms(tmp_path / "sick", data, model, **sick) == ([sickness], [sickness])
    (warning,) = records(tmp_path / "sick", split="warning")
    for name, value in remedy.items():  # it is what the warning says
        option = "--" + name.replace("_", "-")
        assert re.search(rf"{option} {re.escape(str(value))}\b", warning["remedy"]), warning
    assert symptoms(tmp_path / "well", data, model, **{**sick, **remedy}) == ([], [])


@pytest.mark.parametrize(("model", "options"), HEALTHY)
def test_health_is_quiet(model, options, data, tmp_path):
    """Seeds, estimators, priors and posteriors that learn: no warning, no diagnosis."""
    assert symptoms(tmp_path, data, model, **options) == ([], [])
    assert examine(tmp_path).observations == 4


MNIST = {
    "healthy": (
        {
            "kl": 12.0,
            "reconstruction": 130.0,
            "shuffle": 157.0,
            "dead": 0.0,
            "entropy": 0.5,
            "sharpness": 1.15,
            "posterior_entropy": 0.5,
            "zero_share": 0.02,
            "cosine": 0.37,
            "perplexity": 0.85,
            "information": 0.94,
        },
        None,
    ),
    "healthy and soft": ({"gap": 15.0}, None),
    "tau 0.01": ({"zero_share": 0.97, "posterior_entropy": 0.8}, "exploding gradient variance"),
    "tau 100": ({"entropy": 0.999, "sharpness": 0.002}, "gradient insensitive to logits"),
    "tau 2": ({"gap": 35.0}, "samples not hard"),
    "autoregressive": (
        {"kl": 0.03, "shuffle": 0.4, "dead": 1.0, "information": 0.0},
        "latent carries nothing",
    ),
    "free bits that fool": ({"kl": 4.4, "shuffle": 1.8}, "latent carries nothing"),
    "few codes": (
        {"kl": 6.4, "perplexity": 0.2, "information": 0.3, "posterior_entropy": 0.01},
        "collapse onto few codes",
    ),
    "undone": ({"cosine": 0.01, "shuffle": 0.1, "information": 0.1}, "gradient lost in noise"),
}
"""Signs measured on MNIST, where they differ from the healthy ones, and what they show."""


@pytest.mark.parametrize("name", MNIST)
def test_signs_of_larger_models_are_judged_alike(name):
    """The thresholds are ratios: what was measured on MNIST is named as on digits."""
    changed, symptom = MNIST[name]
    monitor = rp.Monitor()
    found = [monitor.observe(step=k, **{**MNIST["healthy"][0], **changed}) for k in (300, 400)]
    assert [d.symptom for d in found[1]] == ([symptom] if symptom else [])
    assert found[0] == []


def test_a_diagnosis_comes_once_and_stands_while_it_lasts():
    """In the mean of two observations after step 300; earlier ones say nothing."""
    monitor = rp.Monitor()
    given = [(100, 0.9), (200, 0.9), (300, 0.9), (400, 0.0), (500, 0.9), (600, 0.9), (700, 0.9)]
    given += [(800, 0.0), (900, 0.0), (1000, 0.9), (1100, 0.9)]
    found = []
    for step, share in given:
        found += [(step, d.symptom) for d in monitor.observe(step=step, zero_share=share)]
        assert bool(monitor.standing) == (step in (600, 700, 1100)), step
    assert found == [(600, "exploding gradient variance")]


def test_what_is_not_observed_neither_heals_nor_ails():
    """Signs may come at different steps; a sign that is missing leaves the diagnosis standing."""
    monitor = rp.Monitor()
    for step in (300, 301):
        monitor.observe(step=step, dead=1.0, kl=0.001)
    assert list(monitor.standing) == ["posterior collapse"]
    monitor.observe(step=302, loss=3.0)
    assert list(monitor.standing) == ["posterior collapse"]
    monitor.observe(step=303, dead=0.0, kl=3.0)
    assert not monitor.standing


@pytest.mark.parametrize("value", [float("nan"), float("inf"), torch.tensor(float("nan"))])
def test_a_loss_that_is_no_number_is_named_at_once(value):
    """At the first step, with the sign."""
    (found,) = rp.Monitor().observe(step=0, loss=value, kl=1.0)
    assert found.symptom == "not a number"
    assert re.fullmatch("step 0: loss is (nan|inf)", found.evidence)


@pytest.mark.parametrize("stable", [False, True])
def test_a_naive_exponential_is_named_and_the_stable_one_cures_it(stable):
    """A loop of one's own, at tau 0.005; the remedy names what is stable."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.zeros(32, 8, requires_grad=True)
    monitor = rp.Monitor()
    z = (logits - torch.empty(32, 8).exponential_(generator=generator).log()) / 0.005
    y = torch.softmax(z, -1) if stable else z.exp() / z.exp().sum(-1, keepdim=True)
    found = monitor.observe(step=0, loss=(y * torch.arange(8)).sum())
    assert [d.symptom for d in found] == ([] if stable else ["not a number"])
    assert all("reparam.functional" in d.remedy for d in found)


LINES = {
    "hard - soft.detach() + soft": lambda h, y: h - y.detach() + y,
    "uphill": lambda h, y: h - y + y.detach(),
    "nothing": lambda h, y: h.detach() - y + y,
    "hard": lambda h, y: h,
    "soft": lambda h, y: y - h.detach() + h,
    "twice": lambda h, y: h - y.detach() + 2 * y,
    "doubled": lambda h, y: h - 2 * y.detach() + 2 * y,
}


@pytest.mark.parametrize("line", LINES)
def test_a_wrong_straight_through_is_named_in_a_loop_of_ones_own(line):
    """From its logits, its samples and their relaxation; the right line is the cure."""
    logits = torch.randn(32, 3, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    soft = rp.functional.gumbel_softmax(logits, generator=torch.Generator().manual_seed(1))
    samples = LINES[line](one_hot(soft.argmax(-1), 8).float(), soft)
    found = rp.Monitor().observe(step=0, logits=logits, samples=samples, soft=soft)
    assert [d.symptom for d in found] == ["wrong straight-through"] * (
        not line.startswith("hard -")
    )
    assert all(next(iter(LINES)) in d.remedy for d in found)


def test_decided_samples_of_decided_logits_are_no_fault():
    """Nor is the zero share of their gradient; nothing is said of samples without their logits."""
    logits = 100 * one_hot(torch.arange(64) % 8, 8).float()
    pair = torch.zeros(64, 8), torch.zeros(64, 8)
    for given in ({"logits": logits, "gradients": pair}, {}):
        monitor = rp.Monitor()
        for step in (300, 400):
            found = monitor.observe(step=step, soft=torch.softmax(logits, -1), **given)
        assert not found


def test_a_loop_of_ones_own_gives_tensors():
    """The signs are those of `vitals`; hard samples alone are not taken for relaxed ones."""
    logits = torch.randn(16, 3, 4, generator=torch.Generator().manual_seed(0))
    kl = torch.rand(16, 3)
    pair = (torch.randn(16, 3, 4), torch.randn(16, 3, 4))
    hard = one_hot(logits.argmax(-1), 4).float()
    monitor = rp.Monitor()
    for step in (300, 301):
        monitor.observe(step=step, logits=logits, samples=hard, kl=kl, gradients=pair)
    seen = {name: two[0] for name, two in monitor.recent.items()}
    expected = vitals.of_codes(logits, kl) | vitals.of_kl(kl) | vitals.of_gradients(*pair)
    assert seen == expected
    monitor.observe(step=302, samples=torch.softmax(logits, -1))
    assert monitor.recent["entropy"][0] == vitals.of_relaxed(torch.softmax(logits, -1))["entropy"]


def test_an_unknown_sign_is_refused():
    """With the names that are known."""
    with pytest.raises(TypeError, match=r"expected signs among loss, max_prob, .*, got cosin$"):
        rp.Monitor().observe(step=0, cosin=0.3)


def test_a_diagnosis_reads_as_a_sentence():
    """Symptom, evidence, cause and remedy; every rule has all four, and no two one name."""
    text = str(rp.Diagnosis("a", "b", "c", "--tau 1"))
    assert text == "a: b; c; try --tau 1"
    assert all(s.cause and "--" in s.remedy for s in SICKNESSES)
    assert len({s.symptom for s in SICKNESSES}) == len(SICKNESSES)


def test_signs_by_hand():
    """Two examples, one unit, two classes."""
    y = torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]])
    log2 = torch.tensor(2.0).log().item()
    assert vitals.of_relaxed(y) == pytest.approx(
        {"max_prob": 0.75, "entropy": 0.5, "sharpness": log2 / 2}
    )
    logits = torch.tensor([[[0.0, -torch.inf]], [[-torch.inf, 3.0]]])
    kl = torch.tensor([[log2], [log2]])
    codes = {"posterior_entropy": 0.0, "perplexity": 1.0, "information": 1.0}
    assert vitals.of_codes(logits, kl) == pytest.approx(codes)
    codes = {"posterior_entropy": 0.0, "perplexity": 0.5, "information": 0.0}
    assert vitals.of_codes(logits[[0, 0]], kl) == pytest.approx(codes)
    kl = torch.tensor([[1.0, 0.001, 0.03], [2.0, 0.003, 0.0]])
    assert vitals.of_kl(kl) == pytest.approx({"kl": 1.517, "dead": 1 / 3})
    pair = torch.tensor([[3.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    expected = {"gradient_rms": (34 / 4) ** 0.5, "zero_share": 0.25, "cosine": 0.6}
    assert vitals.of_gradients(*pair) == pytest.approx(expected)


def test_signs_of_a_model_by_enumeration():
    """A VAE of one decided unit: reconstruction, shuffle and gap are those of its own codes."""
    vae = VAE((1, 2, 2), CategoricalLatent(1, 2), hidden=4)
    codes = torch.tensor([0, 1, 0, 1])
    pictures = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    logits = 1e4 * one_hot(codes, 2).float()
    vae.encoder = torch.nn.Linear(1, 1)
    vae.encoder.forward = lambda _: logits
    signs = vital_signs(
        vae, rp.GumbelSoftmax(0.5), pictures, 2, torch.Generator().manual_seed(0), soft=True
    )
    own = vae.cost(pictures, one_hot(codes, 2).float()[:, None][None]).mean().item()
    others = [
        vae.cost(pictures, one_hot(codes.roll(k), 2).float()[:, None][None]).mean().item()
        for k in (1, 2, 3)
    ]
    assert signs["reconstruction"] == pytest.approx(own)
    assert signs["shuffle"] == pytest.approx(sum(others) / 3 - own, abs=1e-5)
    assert signs["gap"] == pytest.approx(0, abs=1e-5)
    assert (signs["max_prob"], signs["information"], signs["dead"]) == pytest.approx((1, 1, 0))


def test_the_gradient_is_each_examples_own():
    """That of the sum of costs in the logits, at fixed noise: twice the batch, the same size."""
    vae = VAE((1, 2, 2), CategoricalLatent(1, 3), hidden=4)
    one = torch.rand(1, 1, 2, 2)
    rms = []
    for batch in (one.repeat(4, 1, 1, 1), one.repeat(8, 1, 1, 1)):
        way, generator = rp.Enumerate(), torch.Generator().manual_seed(0)
        signs = vital_signs(vae, way, batch, 1, generator, soft=False)
        rms.append(signs["gradient_rms"])
        assert signs["cosine"] == pytest.approx(1)
        assert "zero_share" not in signs
        assert "gap" not in signs
    assert rms[0] == pytest.approx(rms[1])
    features = vae.encoder(one).detach().requires_grad_()
    q = Independent(OneHotCategorical(logits=features.reshape(1, 1, 3)), 1)
    value = rp.expect(lambda z: vae.cost(one, z), q, rp.Enumerate()).sum()
    (gradient,) = torch.autograd.grad(value, features)
    assert rms[0] == pytest.approx(gradient.square().mean().sqrt().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("discrete-vae", {}),
        ("discrete-vae", {"estimator": "score:baseline=moving-average"}),
        ("discrete-vae", {"estimator": "relax"}),
        ("discrete-vae", {"estimator": "vimco", "samples": 2}),
        ("vae", {"posterior": "mixture"}),
    ],
)
def test_looking_changes_nothing(model, options, tmp_path, monkeypatch):
    """Parameters, baselines and metrics are those of a run that is not looked at, bit for bit."""
    runs = []
    for every in (1, 10**9):
        monkeypatch.setattr(loop, "PROBE_EVERY", every)
        runs.append(make_run(tmp_path / str(every), settings(model, **options)))
        trained(runs[-1])
    assert equal(*(dict(run.task.state_dict()) for run in runs))
    looked, plain = (records(run.folder.path) for run in runs)
    assert [r for r in looked if r["split"] in ("train", "test")] == plain
    assert sum(r["split"] == "vitals" for r in looked) == runs[0].steps


def test_a_resumed_run_remembers_what_it_said(data, tmp_path, monkeypatch):
    """Records, warnings included, are those of a run that was never stopped."""
    chosen = settings(**{**SIZE, "kl_weight": "20", "checkpoint_every": 50})
    whole = make_run(tmp_path / "whole", chosen, data)
    trained(whole)
    after = loop.Run.after

    def stopping(self, log, progress):
        after(self, log, progress)
        if self.step == 350:
            raise Interrupted

    part = make_run(tmp_path / "parts", chosen, data)
    monkeypatch.setattr(loop.Run, "after", stopping)
    with pytest.raises(Interrupted):
        trained(part)
    monkeypatch.undo()
    again = make_run(tmp_path / "parts", chosen, data)
    again.resume()
    assert again.step == 350
    trained(again)
    kept = ("vitals", "warning")
    of = [
        [r for r in records(tmp_path / name) if r["split"] in kept] for name in ("whole", "parts")
    ]
    assert of[0] == of[1]
    assert [r["step"] for r in of[0]] == [100, 200, 300, 400, 400]


def test_a_task_without_signs_has_none(tmp_path, monkeypatch):
    """Nothing is recorded of it."""
    monkeypatch.setattr(loop, "PROBE_EVERY", 1)
    run = make_run(tmp_path, settings(), images())
    monkeypatch.setattr(run.task, "vitals", lambda batch, step: {})
    trained(run)
    assert not records(tmp_path, split="vitals")


def test_a_schedules_range_is_part_of_the_signs(tmp_path, monkeypatch):
    """Of options that ask for one, over the whole run; a plain number, and auto, are not asked."""
    monkeypatch.setattr(loop, "PROBE_EVERY", 1)
    run = make_run(tmp_path, settings(kl_weight="cyclic:start=0.5,end=2,period=4", epochs=4))
    trained(run)
    signs = records(tmp_path, split="vitals")
    assert all(r["kl_weight_moves"] == 0.75 for r in signs)
    assert not any("tau_moves" in r for r in signs)
