"""StochasticCategorical, ConcreteSelector, SinkhornPermutation: what they draw and settle on."""

import re
import sys

import pytest
import torch
from torch import nn
from torch.distributions import OneHotCategorical

import reparam as rp
from acceptance import seeded
from nn_cases import falling
from reparam.functional import gumbel_sinkhorn, hard_argmax, matching, relaxed_topk
from reparam.nn import ConcreteSelector, SinkhornPermutation, StochasticCategorical
from reparam.schedules import Exponential

logits = torch.randn(3, 20, generator=seeded(0))


@pytest.mark.parametrize("name", ["gumbel-softmax:tau=0.5", "reinmax", "zgr", "gumbel-rao:k=3"])
@pytest.mark.parametrize("classes", [None, 5])
def test_training_gives_the_estimators_sample_of_each_block(name, classes):
    """Value and gradient of rp.sample, at one key; instance or spec alike."""
    results = []
    blocks = logits.view(3, -1, classes or 20)
    for layer in (StochasticCategorical(name, classes), None):
        leaf = logits.clone().requires_grad_()
        if layer is None:
            q = OneHotCategorical(logits=leaf.view_as(blocks))
            y = rp.sample(q, rp.estimator(name), key=2).reshape(3, 20)
        else:
            y = layer(leaf, key=2)
        results.append((y, *torch.autograd.grad((y * logits).sum(), leaf)))
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))
    assert torch.equal(
        StochasticCategorical(rp.estimator(name), classes)(logits, key=2), results[0][0]
    )


def test_eval_mode_is_the_mode_of_each_block():
    """One-hot, whatever the estimator, also a soft one."""
    for classes in (None, 5):
        y = StochasticCategorical("gumbel-softmax", classes).eval()(logits)
        blocks = logits.view(3, -1, classes or 20)
        assert torch.equal(y.view_as(blocks), hard_argmax(blocks))


def test_its_schedule_sets_the_estimators_temperature():
    """At every step; without one the estimator's own stays."""
    layer = StochasticCategorical("gumbel-softmax:tau=3", tau=falling())
    for step in range(6):
        expected = rp.sample(
            OneHotCategorical(logits=logits), rp.GumbelSoftmax(falling().at(step)), key=1
        )
        torch.testing.assert_close(layer(logits, key=1), expected, rtol=1e-6, atol=1e-7)
        rp.nn.anneal(layer)
    still = StochasticCategorical("gumbel-softmax:tau=3")
    rp.nn.anneal(still)
    expected = rp.sample(OneHotCategorical(logits=logits), rp.GumbelSoftmax(3.0), key=1)
    assert torch.equal(still(logits, key=1), expected)


def test_rows_have_noise_and_keys_of_their_own():
    """Blocks too."""
    layer, keys = StochasticCategorical("gumbel-softmax", 5), rp.fold_in(1, torch.arange(3))
    y = layer(torch.zeros(3, 20), key=keys)
    assert y.view(-1, 5)[:, 0].unique().numel() == 12
    assert torch.equal(layer(torch.zeros(1, 20), key=keys[1:2]), y[1:2])


def test_estimators_that_do_not_fit_are_refused():
    """When the layer is made, with what to do."""
    with pytest.raises(TypeError, match=r"expected a pathwise one, got Rloo, .* use its draw"):
        StochasticCategorical("rloo")
    with pytest.raises(ValueError, match="tau: expected an estimator with a temperature, got ZGR"):
        StochasticCategorical("zgr", tau=falling())
    with pytest.raises(ValueError, match=re.escape("blocks of 6 classes, got shape (3, 20)")):
        StochasticCategorical(classes=6)(logits)
    with pytest.raises(ValueError, match="classes: expected an integer >= 1, got 0"):
        StochasticCategorical(classes=0)


def test_a_selector_multiplies_by_one_relaxed_mask():
    """The same for the batch, of sum k, at the schedule's temperature."""
    selector, x = ConcreteSelector(20, 4, falling()), logits
    nn.init.normal_(selector.logits)
    for step in range(6):
        mask = relaxed_topk(selector.logits, 4, falling().at(step), key=3)
        torch.testing.assert_close(selector(x, key=3), x * mask, rtol=1e-5, atol=1e-6)
        assert mask.sum().item() == pytest.approx(4)
        rp.nn.anneal(selector)


def test_a_selector_never_takes_a_feature_twice():
    """k different ones in eval mode, equal logits included; and as good as in training at tau 0."""
    for init in (nn.init.zeros_, nn.init.normal_):
        selector = ConcreteSelector(20, 4).eval()
        init(selector.logits)
        mask = selector(torch.ones(20))
        assert mask.sort().values.tolist() == [0] * 16 + [1] * 4
        assert torch.equal(mask.nonzero().squeeze(-1), selector.selected)
    assert set(selector.selected.tolist()) == set(selector.logits.topk(4).indices.tolist())
    cold = ConcreteSelector(20, 4, tau=1e-6)
    for seed in range(20):
        assert cold(torch.ones(20), key=seed).sort().values.tolist() == pytest.approx(
            [0] * 16 + [1] * 4, abs=1e-4
        )


def test_a_selector_learns_which_features_matter():
    """Annealed, it finds the three that the target is made of, and pruning keeps them."""
    generator = seeded(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        schedule = Exponential.reaching(3.0, 0.05, steps=300)
        net = nn.Sequential(ConcreteSelector(15, 3, schedule), nn.Linear(15, 1))
    optimizer = torch.optim.Adam(net.parameters(), 0.05)
    for _ in range(300):
        x = torch.randn(64, 15, generator=generator)
        target = x[:, [2]] + 2 * x[:, [7]] - x[:, [11]]
        loss = (net[1](net[0](x, generator=generator)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rp.nn.anneal(net)
    assert net[0].selected.tolist() == [2, 7, 11]
    small = rp.nn.prune(net.eval())
    assert small[0].index.tolist() == [2, 7, 11]
    torch.testing.assert_close(small(x), net(x))


def test_wrong_selections_are_refused():
    """More than there are, or none."""
    with pytest.raises(ValueError, match="k: expected at most the 3 features, got 4"):
        ConcreteSelector(3, 4)
    with pytest.raises(ValueError, match="k: expected an integer >= 1, got 0"):
        ConcreteSelector(3, 0)


def test_a_permutation_is_relaxed_in_training_and_matched_in_eval_mode():
    """gumbel_sinkhorn at the schedule's temperature and iterations; the best assignment."""
    layer = SinkhornPermutation(falling(), n_iters=7)
    scores = torch.randn(4, 5, 5, generator=seeded(1))
    for step in range(6):
        expected, _ = gumbel_sinkhorn(scores, falling().at(step), 7, key=2)
        torch.testing.assert_close(layer(scores, key=2), expected)
        rp.nn.anneal(layer)
    best = layer.eval()(scores)
    assert torch.equal(best, matching(scores))
    assert (best.sum(-1) == 1).all()
    assert (best.sum(-2) == 1).all()
    with pytest.raises(ValueError, match="n_iters: expected an integer >= 1, got 0"):
        SinkhornPermutation(n_iters=0)


def test_matching_without_scipy_names_its_extra(monkeypatch):
    """Training needs none."""
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    layer = SinkhornPermutation()
    layer(torch.zeros(3, 3))
    with pytest.raises(ImportError, match=re.escape("pip install 'reparam[structured]'")):
        layer.eval()(torch.zeros(3, 3))
