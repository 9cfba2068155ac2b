"""Baselines: what they return, when they move, and what their training may touch."""

import copy
import re

import pytest
import torch
from torch.distributions import Bernoulli, Independent, OneHotCategorical

import reparam as rp
from acceptance import seeded
from reparam.baselines import BASELINES, Baseline, Constant, Learned, MovingAverage

q = Bernoulli(logits=torch.zeros(2, 3))


def test_constant_is_its_value_in_the_costs_dtype():
    """Whatever the costs."""
    b = Constant(0.7)(torch.ones(4, 2, 3, dtype=torch.float64), q)
    assert b.dtype == torch.float64
    assert b.item() == 0.7


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_moving_average_is_the_corrected_mean_of_earlier_draws(decay):
    """0 before the first; then sum d^(t-i) mean_i / sum d^(t-i), never the present draw."""
    average, means = MovingAverage(decay), []
    for step in range(5):
        weights = [decay ** (step - 1 - i) for i in range(step)]
        past = sum(w * m for w, m in zip(weights, means, strict=True)) / (sum(weights) or 1)
        costs = torch.randn(4, 2, 3, generator=seeded(step), dtype=torch.float64) + 3
        assert average(costs, q).item() == pytest.approx(past, rel=1e-12)
        means.append(costs.mean().item())


def test_moving_average_rests_in_eval_mode_and_on_empty_costs():
    """And answers in the costs' dtype."""
    average = MovingAverage()
    average(torch.full((4, 2), 2.0), q)
    assert average(torch.zeros(0, 2), q).item() == 2
    average.eval()
    for _ in range(2):
        b = average(torch.full((4, 2), 9.0, dtype=torch.bfloat16), q)
        assert b.item() == 2
        assert b.dtype == torch.bfloat16


def test_moving_average_continues_from_a_checkpoint():
    """Its state is in its buffers; it has no parameters."""
    first, second = MovingAverage(0.9), MovingAverage(0.9)
    for value in (1.0, 5.0):
        first(torch.full((3,), value), q)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert torch.equal(first(torch.ones(3), q), second(torch.ones(3), q))
    assert list(first.parameters()) == []


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_outside_its_range_is_refused(decay):
    """1 would never forget its start."""
    with pytest.raises(
        ValueError, match=re.escape(f"decay: expected a number in [0, 1), got {decay}")
    ):
        MovingAverage(decay)


@pytest.mark.parametrize(
    ("q", "features"),
    [
        (Bernoulli(logits=torch.zeros(2, 3)), 1),
        (Independent(Bernoulli(logits=torch.zeros(2, 3)), 1), 3),
        (Independent(OneHotCategorical(logits=torch.zeros(2, 3, 4)), 1), 12),
        (OneHotCategorical(logits=torch.zeros(4)), 4),
    ],
)
def test_learned_sees_the_flat_mean_and_returns_one_value_a_row(q, features):
    """By default; `(*batch, 1)` and `(*batch)` both count."""
    b = Learned(torch.nn.Linear(features, 1))(torch.zeros(5, *q.batch_shape), q)
    assert b.shape == q.batch_shape
    squeezed = Learned(torch.nn.Sequential(torch.nn.Linear(features, 1), torch.nn.Flatten(-2)))
    if q.batch_shape:
        assert squeezed(torch.zeros(5, *q.batch_shape), q).numel() == b.numel()


def test_learned_can_see_something_else():
    """Such as the input image, without sending a gradient there."""
    image = torch.ones(2, 3, 5, requires_grad=True)
    b = Learned(torch.nn.Linear(5, 1), lambda _: image)(torch.zeros(4, 2, 3), q)
    b.sum().backward()
    assert image.grad is None


def test_a_network_of_another_shape_is_refused():
    """It would broadcast silently."""
    message = re.escape("expected the network to return (2, 3) or (2, 3, 1), one value per batch")
    with pytest.raises(ValueError, match=message):
        Learned(torch.nn.Linear(1, 2))(torch.zeros(4, 2, 3), q)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_learned_baseline_is_trained_by_the_models_own_backward(sign):
    """Its gradient is that of the mean squared error; q and the cost do not feel it."""
    logits = torch.zeros(3, requires_grad=True)
    weight = torch.tensor(2.0, requires_grad=True)
    network = torch.nn.Linear(1, 1)
    learned = rp.Score(Learned(network))
    fixed = rp.Score(_Same(network))
    results = []
    for estimator in (learned, fixed):
        draw = estimator.draw(Bernoulli(logits=logits), 6, generator=seeded(0))
        costs = weight * draw.points + 1
        (sign * draw.combine(costs).sum()).backward()
        results.append((logits.grad.clone(), weight.grad.clone()))
        logits.grad = weight.grad = None
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)
    got = network.weight.grad.clone()
    network.zero_grad()
    prediction = network(torch.full((3, 1), 0.5)).squeeze(-1)
    (costs.detach() - prediction).square().mean(0).sum().backward()
    torch.testing.assert_close(got, network.weight.grad)


class _Same(Baseline):
    """The network's prediction, without its training."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, costs, q):
        with torch.no_grad():
            return self.network(q.mean.reshape(*q.batch_shape, -1)).squeeze(-1)


@pytest.mark.parametrize("name", BASELINES)
def test_named_baselines_are_made_fresh(name):
    """Two specs never share a state."""
    first, second = BASELINES[name](), BASELINES[name]()
    assert isinstance(first, Baseline)
    assert first is not second
