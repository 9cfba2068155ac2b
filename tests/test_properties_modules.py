"""What holds for every public module and search, at any size, shape, dtype and key."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Bernoulli
from torch.utils._pytree import tree_leaves

import reparam as rp
from acceptance import seeded
from reparam.diagnostics import Diagnosis
from strategies import BATCHES, FULL_BATCHES, SEEDS

SIZES = st.integers(1, 5)
MODULES = {
    "gate": lambda n, m: (rp.nn.HardConcreteGate(n), None),
    "L0Linear": lambda n, m: (rp.nn.L0Linear(n, m), (n,)),
    "L0Conv2d": lambda n, m: (rp.nn.L0Conv2d(n, m, 3, padding=1), (n, 4, m)),
    "selector": lambda n, m: (rp.nn.ConcreteSelector(n, min(n, m), 0.5), (n,)),
    "permutation": lambda n, m: (rp.nn.SinkhornPermutation(0.5), (n, n)),
    "router": lambda n, m: (rp.nn.TopKRouter(n, 2 * m, m), (n,)),
    "categorical": lambda n, m: (rp.nn.StochasticCategorical("gumbel-softmax", n), (n * m,)),
    "select": lambda n, m: (rp.nn.Select(torch.arange(n), -1), (n + m,)),
}
"""Of two sizes: a module, and the shape of a row of its input, or None without one."""


def made(name, sizes, dtype, seed):
    """The module, its parameters drawn with the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module, shape = MODULES[name](*sizes)
        for p in module.parameters():
            nn.init.normal_(p)
    return module.to(dtype), shape


def tensors(value):
    """All that a forward returns."""
    return [x for x in tree_leaves(value) if isinstance(x, torch.Tensor)]


def same(one, other):
    """Bit for bit."""
    return all(x.equal(y) for x, y in zip(one, other, strict=True))


@pytest.mark.parametrize("name", MODULES)
@given(
    batch=st.integers(1, 3),
    sizes=st.tuples(SIZES, SIZES),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seeds=st.tuples(st.integers(0, 99), SEEDS),
)
@settings(max_examples=10)
def test_modules(name, batch, sizes, dtype, seeds):
    """A key repeats itself; settled, rows are on their own; a state makes another module this."""
    seed, key = seeds
    module, shape = made(name, sizes, dtype, seed)
    inputs = (
        () if shape is None else (torch.randn(batch, *shape, generator=seeded(seed)).to(dtype),)
    )
    source = {} if name == "select" else {"key": key}
    first, again = (tensors(module(*inputs, **source)) for _ in range(2))
    assert same(first, again)
    assert all(x.isfinite().all() for x in first)
    other, _ = made(name, sizes, dtype, seed + 1)
    other.load_state_dict(module.state_dict())
    assert same(first, tensors(other(*inputs, **source)))
    settled = tensors(module.eval()(*inputs))
    for row in range(batch if inputs else 0):
        alone = tensors(module(inputs[0][row : row + 1]))
        for one, whole in zip(alone, settled, strict=True):
            torch.testing.assert_close(one, whole[row : row + 1])


def test_every_module_is_here():
    """A new module of `nn` brings a property."""
    names = {type(m) for build in MODULES.values() for m in build(2, 2)[0].modules()}
    public = {getattr(rp.nn, name) for name in rp.nn.__all__}
    assert {m for m in public if isinstance(m, type) and issubclass(m, nn.Module)} <= names


@given(
    st.lists(st.tuples(BATCHES, st.integers(0, 99)), min_size=1, max_size=6),
    st.sampled_from([0.0, 0.5, 0.99]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_a_moving_average_is_of_earlier_costs(draws, decay, dtype):
    """Each mean weighs `decay` times the next one; a state goes on where it was."""
    baseline, means = rp.baselines.MovingAverage(decay), []
    for batch, seed in draws:
        costs = torch.randn(2, *batch, generator=seeded(seed)).to(dtype)
        weights = [decay**k for k in reversed(range(len(means)))]
        expected = sum(map(math.prod, zip(weights, means, strict=True))) / (sum(weights) or 1)
        resumed = rp.baselines.MovingAverage(decay)
        resumed.load_state_dict(baseline.state_dict())
        value = baseline(costs, Bernoulli(0.5))
        assert (value.dtype, value.shape) == (dtype, ())
        assert value.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert resumed(costs, Bernoulli(0.5)).equal(value)
        means += [costs.double().mean().item()] if costs.numel() else []


@given(FULL_BATCHES, st.integers(1, 4), st.floats(-1e3, 1e3))
def test_baselines_are_of_the_batch(batch, classes, number):
    """One value, or one for each row, that the points have no say in."""
    q = torch.distributions.OneHotCategorical(torch.full((*batch, classes), 1 / classes))
    learned = rp.baselines.Learned(nn.Linear(classes, 1))
    first, second = (torch.randn(3, *batch, generator=seeded(seed)) for seed in (0, 1))
    assert learned(first, q).shape == torch.Size(batch)
    assert learned(first, q).equal(learned(second, q))
    assert rp.baselines.Constant(number)(first, q).item() == pytest.approx(number)


@given(
    sizes=st.tuples(st.integers(0, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 6)),
    end=st.booleans(),
    dtype=st.sampled_from([torch.bfloat16, torch.float32, torch.float64]),
    temperature=st.sampled_from([0.3, 1.0, 4.0]),
    key=SEEDS,
)
def test_beam_search(sizes, end, dtype, temperature, key):
    """Different sequences, best first, each with the log-probability that the model gives it."""
    rows, words, longest, k = sizes
    table = torch.randn(words + 1, words, generator=seeded(words)).to(dtype)
    last = words - 1 if end else None

    def search():
        start = torch.full((rows,), words)
        model = {"step": lambda seen, _: (table[seen], None), "start": start, "end": last}
        return rp.stochastic_beam_search(
            **model, k=k, max_len=longest, temperature=temperature, key=key
        )

    found = search()
    assert all(x.equal(y) for x, y in zip(found, search(), strict=True))
    assert ((found.weights > 0) == found.valid).all()
    log_p = (table.double() / temperature).log_softmax(-1)
    for row in range(rows):
        valid = found.valid[row]
        assert (found.perturbed[row][valid].diff() <= 0).all()
        said = zip(found.tokens[row], found.lengths[row], found.log_probs[row], strict=True)
        kept = {tuple(t[:n].tolist()): p.item() for t, n, p in said if n}
        assert len(kept) == valid.sum() >= 1
        assert end or len(kept) == min(k, words**longest)
        for text, found_p in kept.items():
            assert len(text) == longest or text[-1] == last
            expected = sum(log_p[a, b].item() for a, b in pairwise([words, *text]))
            assert found_p == pytest.approx(expected, rel=1e-5, abs=1e-5)


ANY = st.floats(allow_nan=True, allow_infinity=True)


@given(
    st.lists(st.tuples(st.integers(0, 1_000), ANY, FULL_BATCHES, SEEDS), min_size=1, max_size=5),
    st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
)
def test_a_monitor_takes_whatever_comes(observed, dtype):
    """Each sickness is named once, with its four texts, whatever the numbers are."""
    monitor, named = rp.Monitor(), []
    for step, loss, units, seed in observed:
        logits = torch.randn(4, *units, 3, generator=seeded(seed % 99)).to(dtype)
        named += monitor.observe(
            step=step, loss=loss, kl=loss, logits=logits, soft=logits.softmax(-1)
        )
    assert all(isinstance(d, Diagnosis) and all(d.asdict().values()) for d in named)
    symptoms = [d.symptom for d in named]
    assert len(set(symptoms)) == len(symptoms)
    assert ("not a number" in symptoms) == any(not math.isfinite(loss) for _, loss, *_ in observed)
