"""What holds for schedules, keys, specs, expectations and image files, whatever they are given."""

import gzip

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.distributions import OneHotCategorical

import reparam as rp
from acceptance import seeded
from data_cases import idx, pixels
from reparam.data import load
from reparam.data.idx import read_idx
from reparam.data.split import hold_out_tenth
from reparam.schedules import Constant, Cosine, Cyclic, Exponential, Linear, Schedule, drive
from strategies import BATCHES, SEEDS

NUMBERS = st.floats(0.01, 10)
STEPS = st.integers(1, 50)
SCHEDULES = {
    Constant: st.builds(Constant, NUMBERS),
    Linear: st.builds(Linear, NUMBERS, NUMBERS, STEPS),
    Cosine: st.builds(Cosine, NUMBERS, NUMBERS, STEPS),
    Cyclic: st.builds(Cyclic, NUMBERS, NUMBERS, STEPS, st.floats(0.01, 1)),
    Exponential: st.builds(
        lambda ends, rate, every: Exponential(max(ends), min(ends), rate, every),
        *(st.tuples(NUMBERS, NUMBERS), NUMBERS, STEPS),
    ),
}
written = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(st.one_of(*SCHEDULES.values()), st.integers(0, 60))
def test_schedules_step_by_step(schedule, steps):
    """Stepping is counting, a state goes on where it was, and an estimator is driven by it."""
    assert schedule.value == schedule.at(0)
    values = [schedule.step() for _ in range(steps)]
    assert values == [schedule.at(step + 1) for step in range(steps)]
    ends = [v for k, v in vars(schedule).items() if k in ("start", "end", "constant")]
    assert all(min(ends) * (1 - 1e-9) <= value <= max(ends) * (1 + 1e-9) for value in values)
    state, value = schedule.state_dict(), schedule.value
    schedule.load_state_dict({"step": 0})
    schedule.load_state_dict(state)
    assert schedule.value == value
    driven = drive(rp.GumbelSoftmax(), steps, tau=schedule)
    assert driven == rp.GumbelSoftmax(tau=schedule.at(steps))


def test_every_schedule_is_here():
    """A new one brings a property."""
    assert set(Schedule.__subclasses__()) >= set(SCHEDULES)
    own = {s for s in Schedule.__subclasses__() if s.__module__ == "reparam.schedules"}
    assert own == set(SCHEDULES)


@given(SEEDS, st.lists(SEEDS, min_size=1, max_size=3))
def test_keys_are_folded_alike(key, numbers):
    """Numbers and tensors of them give the same key; one number after another is all at once."""
    folded = rp.fold_in(key, *numbers)
    assert 0 <= folded < 2**64
    assert int(rp.fold_in(key, *map(torch.tensor, numbers))) % 2**64 == folded
    first, *others = numbers
    assert rp.fold_in(rp.fold_in(key, first), *others) == folded
    assert rp.fold_in(key, first + 1) != rp.fold_in(key, first)


@given(NUMBERS, st.sampled_from(["gumbel-softmax", "rebar", "gapped-straight-through", "reinmax"]))
def test_a_spec_says_every_digit(number, name):
    """A number that is written as Python writes it is read as it was."""
    made = rp.estimator(f"{name}:tau={number!r}")
    assert made.tau == number
    assert made == rp.estimator(f" {name}: tau = {number!r}, ")


@given(BATCHES.filter(all), st.integers(1, 4), st.integers(1, 3), SEEDS)
def test_an_expectation_is_a_draw_combined(batch, classes, n, key):
    """And a sample is the only point of a draw of one."""
    q = OneHotCategorical(logits=torch.randn(*batch, classes, generator=seeded(classes)))
    way = rp.GumbelSoftmax(tau=0.5)
    draw = way.draw(q, n, key=key)
    value = rp.expect(lambda y: y.square().sum(-1), q, way, n, key=key)
    assert value.equal(draw.combine(draw.points.square().sum(-1)))
    assert rp.sample(q, way, key=key).equal(way.draw(q, 1, key=key).points[0])


SHAPES = st.tuples(st.integers(2, 12), st.integers(5, 7), st.integers(5, 7))


@given(SHAPES, st.booleans(), st.integers(0, 99))
@written
def test_idx_is_read_as_it_was_written(tmp_path, shape, zipped, seed):
    """Bytes of any shape, gzipped or not."""
    values = pixels(*shape, seed=seed)
    content = idx(values)
    (tmp_path / "file").write_bytes(gzip.compress(content) if zipped else content)
    assert read_idx(tmp_path / "file").equal(values)


@given(
    st.tuples(SHAPES, st.sampled_from([None, 1, 3])),
    st.sampled_from(["u1", "?", "<f2", "<f4", ">f4", "<f8", ">f8"]),
    st.sampled_from("CF"),
    st.booleans(),
)
@written
def test_arrays_are_read_as_they_were_written(tmp_path, sizes, kind, order, zipped):
    """Whatever their numbers, byte order, layout and channels; every image is kept once."""
    shape, channels = sizes
    values = pixels(*shape, *([channels] if channels else [])).numpy()
    values = values if kind == "u1" else (values / 255).round(2 if kind != "?" else 0).astype(kind)
    array = np.asarray(values, order=order)
    if zipped:
        np.savez_compressed(tmp_path / "a.npz", array)
    else:
        np.save(tmp_path / "a.npy", array)
    images = load(tmp_path / ("a.npz" if zipped else "a.npy"))
    expected = torch.from_numpy(values.astype(np.float32)) / (255 if kind == "u1" else 1)
    expected = expected.unsqueeze(1) if channels is None else expected.permute(0, 3, 1, 2)
    train, test, _ = hold_out_tenth(expected, "expected")
    assert images.train.equal(train)
    assert images.test.equal(test)
    assert len(test) == max(1, shape[0] // 10)
    assert sorted(x.sum().item() for x in torch.cat([train, test])) == pytest.approx(
        sorted(x.sum().item() for x in expected)
    )
