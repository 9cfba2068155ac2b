"""Training: what a step sees, what a record says, what a checkpoint holds, and every refusal."""

import json

import pytest
import torch

import reparam as rp
from reparam.baselines import BASELINES, Learned
from reparam.data import Images
from reparam.models import evaluate
from reparam.recipes import MODELS
from reparam.recipes.config import from_dict, to_dict
from reparam.training.loop import TEST
from tiny_runs import (
    checkpoint,
    images,
    make_run,
    records,
    settings,
    step_of,
    trained,
)

BASELINE = "score:baseline=moving-average"


@pytest.mark.parametrize(
    ("model", "estimator"),
    [
        ("discrete-vae", "straight-through-gumbel-softmax"),
        ("discrete-vae", "rloo"),
        ("vae", "rloo"),
        ("vae", "pathwise"),
    ],
)
def test_training_finds_the_two_kinds(model, estimator, tmp_path):
    """Knowing an image's kind is worth log 2 nats at most; the bound gains 15 by it and colour."""
    chosen = settings(model, estimator=estimator, samples=2, epochs=15, lr=0.02)
    trained(make_run(tmp_path, chosen))
    first, *_, last = (r["bound"] for r in records(tmp_path, split="test", final=None))
    assert last > first + 5


def test_an_epoch_visits_every_image_once(tmp_path):
    """In an order of its own in each epoch, that the seed alone decides."""
    data = images(train=48)
    data.train[:, 0, 0, 0] = torch.arange(48) / 64
    data = Images("numbered", data.train, data.test)
    orders = {}
    for seed, estimator in ((0, "score"), (0, "gumbel-softmax"), (1, "score")):
        run = make_run(tmp_path, settings(seed=seed, estimator=estimator), data)
        seen = []
        for chosen in run.batches():
            assert run.step == len(seen) // 16
            (rows,) = run.parts(chosen)
            seen += (run.seen(0, chosen, rows)[:, 0, 0, 0] * 64).int().tolist()
            assert seen[-16:] == chosen.tolist()
            run.step += 1
        assert sorted(seen[:48]) == sorted(seen[48:]) == list(range(48))
        assert seen[:48] != seen[48:]
        orders[seed, estimator] = seen
    assert orders[0, "score"] == orders[0, "gumbel-softmax"] != orders[1, "score"]


def test_an_incomplete_batch_is_left_out_unless_it_is_all(tmp_path):
    """Fifty images make three batches of sixteen, and one of a hundred."""
    for batch, sizes in ((16, [16] * 3), (100, [50])):
        run = make_run(tmp_path, settings(batch=batch, epochs=1), images(train=50))
        seen = []
        for chosen in run.batches():
            seen.append(len(chosen))
            run.step += 1
        assert seen == sizes


@pytest.mark.parametrize("kind", ["train", "test", "final"])
def test_records_say_what_happened(kind, tmp_path):
    """The keys of every kind of record, and where it belongs."""
    trained(make_run(tmp_path, settings(estimator="gumbel-softmax")))
    place = {"step", "epoch", "split"}
    bound = {"bound", "reconstruction", "kl", "relaxed"}
    keys, steps = {
        "train": ({"relaxed", "kl", "tau", "kl_weight"}, [1, 2, 3, 4, 5, 6]),
        "test": (bound, [3, 6]),
        "final": (bound | {"bound_3", "final"}, [6]),
    }[kind]
    split = "train" if kind == "train" else "test"
    found = records(tmp_path, split=split, final=True if kind == "final" else None)
    assert [r["step"] for r in found] == steps
    assert all(set(r) == place | keys for r in found)
    assert [r["epoch"] for r in found] == [round(step / 3, 4) for step in steps]


def test_a_hard_estimator_trains_on_a_bound(tmp_path):
    """Its training value is called bound, and there is no relaxed one."""
    trained(make_run(tmp_path, settings(estimator="rloo", samples=2)))
    assert all("bound" in r and "relaxed" not in r and "tau" not in r for r in records(tmp_path))


def test_a_record_is_the_mean_since_the_last(tmp_path):
    """Of four steps and of the two that are left, as steps recorded singly say."""
    for every in (1, 2):
        chosen = settings(epochs=1, batch=12, log_every=every, estimator="rloo", samples=2)
        trained(make_run(tmp_path / str(every), chosen))
    single, pairs = ([r["kl"] for r in records(tmp_path / k, split="train")] for k in "12")
    assert pairs == pytest.approx([(single[0] + single[1]) / 2, (single[2] + single[3]) / 2])


def test_schedules_reach_their_ends_within_the_run(tmp_path):
    """The default temperature, and a KL weight whose steps are those planned, less one at most."""
    weight = "linear:start=0,end=1"
    trained(make_run(tmp_path, settings(epochs=4, kl_weight=weight)))
    train = records(tmp_path, split="train")
    assert (train[0]["tau"], train[-1]["tau"]) == (1, 0.5)
    assert [r["kl_weight"] for r in train] == [step / 12 for step in range(12)]
    falling = [r["tau"] for r in train]
    assert falling == sorted(falling, reverse=True)


def test_the_relaxed_test_value_is_at_the_temperature_of_its_step(tmp_path):
    """That of the step before the record, bit for bit, and not the estimator's own of 1."""
    run = make_run(tmp_path, settings(estimator="gumbel-softmax", tau="linear:start=2,end=0.5"))
    trained(run)
    (record,) = records(tmp_path, split="test", step=6, final=None)
    tau = records(tmp_path, split="train", step=6)[0]["tau"]
    key = rp.fold_in(run.key(5, TEST), torch.arange(8))
    own = evaluate(run.task.vae, run.data.test, rp.GumbelSoftmax(tau), key=key)
    assert tau == 0.75
    assert {k: record[k] for k in own.asdict()} == own.asdict()


def test_free_bits_and_weight_make_the_loss(tmp_path):
    """reconstruction + weight * sum of max(least, KL of a unit), at the step's own weight."""
    chosen = settings(free_bits=2.0, kl_weight="0.25", estimator="enumerate", hidden=4)
    run = make_run(tmp_path, chosen)
    batch = run.data.train[:16]
    loss, values = run.task(batch, step_of(batch))
    reconstruction = -values["bound"] - values["kl"]
    assert loss.item() == pytest.approx((reconstruction + 0.25 * 3 * 2).item(), rel=1e-6)


def test_a_baseline_moves_and_is_kept(tmp_path):
    """A checkpoint holds its state, and a run that resumes has it."""
    run = make_run(tmp_path, settings(estimator=BASELINE))
    trained(run)
    kept = checkpoint(tmp_path)["task"]["control.baseline.total"]
    assert kept > 0
    again = make_run(tmp_path, settings(estimator=BASELINE))
    again.resume()
    assert again.task.estimator.baseline.total == kept


def test_a_learned_baseline_is_trained(tmp_path):
    """Its network is in the optimizer and in the checkpoint, and has changed."""
    BASELINES["learned"] = lambda: Learned(torch.nn.Linear(12, 1))
    try:
        run = make_run(tmp_path, settings(estimator="score:baseline=learned"))
    finally:
        del BASELINES["learned"]
    network = run.task.estimator.baseline.network
    before = network.weight.detach().clone()
    trained(run)
    assert not torch.equal(before, network.weight)
    assert torch.equal(
        checkpoint(tmp_path)["task"]["control.baseline.network.weight"], network.weight
    )
    optimized = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
    assert optimized == {id(p) for p in run.task.parameters()}


@pytest.mark.parametrize("model", MODELS)
def test_settings_come_back_from_json(model):
    """Every field, changed or not."""
    chosen = settings(model, lr=0.1 + 0.2, data="a, 'b'")
    assert from_dict(json.loads(json.dumps(to_dict(chosen)))) == chosen
