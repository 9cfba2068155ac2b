"""L0 layers: their gates, penalties and the mistakes that are usual in them."""

import math
import re

import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn.functional import conv2d, linear

import reparam as rp
from acceptance import seeded
from reparam.functional import hard_concrete

SHAPE = (2 / 3, -0.1, 1.1)


def prob_open(log_alpha: float, tau: float, gamma: float, zeta: float) -> float:
    """P(gate != 0), by scipy's logistic: the gate opens where L > tau logit(s) - log alpha."""
    s = -gamma / (zeta - gamma)
    return stats.logistic.sf(tau * math.log(s / (1 - s)) - log_alpha)


def test_gates_share_no_noise():
    """Louizos et al. 2018: a gate each; one uniform for all would open and close them together."""
    gate = rp.nn.HardConcreteGate(1000)
    nn.init.zeros_(gate.log_alpha)
    for source in ({"key": 0}, {"generator": seeded(0)}):
        z = gate(**source)
        inside = z[(z > 0) & (z < 1)]
        assert len(inside) > 400
        assert inside.unique().numel() > 0.99 * len(inside)
        assert (z == 0).any()
        assert (z == 1).any()


def test_the_gate_of_evaluation_is_stretched():
    """clamp(1.2 sigmoid - .1, 0, 1): without the stretch nothing would ever close."""
    gate = rp.nn.HardConcreteGate(5).eval()
    gate.log_alpha.data = torch.tensor([-9.0, -2.5, 0.0, 2.5, 9.0])
    expected = (1.2 * torch.sigmoid(gate.log_alpha) - 0.1).clamp(0, 1)
    torch.testing.assert_close(gate(), expected)
    assert gate().detach()[[0, 1, 3, 4]].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("shape", [SHAPE, (0.3, -0.5, 1.2)])
def test_the_penalty_is_the_probability_of_an_open_gate(shape):
    """With the shift by tau log(-gamma / zeta): sigmoid(log alpha) alone is half of it at .1."""
    gate = rp.nn.HardConcreteGate(3, 0.5, *shape)
    gate.log_alpha.data = torch.tensor([-3.0, 0.0, 2.0])
    expected = [prob_open(a, *shape) for a in (-3.0, 0.0, 2.0)]
    assert gate.prob_open().tolist() == pytest.approx(expected, rel=1e-6)
    assert gate.l0().item() == pytest.approx(sum(expected), rel=1e-6)
    assert not torch.allclose(gate.prob_open(), gate.log_alpha.sigmoid(), atol=0.01)


@pytest.mark.parametrize("dropout", [0.2, 0.5, 0.9])
def test_gates_start_near_the_dropout_rate(dropout):
    """log alpha within 6 standard deviations, .06, of its log odds, and not all equal."""
    gate = rp.nn.HardConcreteGate(300, dropout)
    off = gate.log_alpha - math.log((1 - dropout) / dropout)
    assert off.abs().max() < 0.06
    assert off.std() > 0.005


def test_a_linear_layer_gates_its_inputs():
    """One set of gates for all rows: the product with the gated input, and the bias untouched."""
    layer, x = rp.nn.L0Linear(40, 3), torch.randn(6, 40, generator=seeded(0))
    z = hard_concrete(layer.gate.log_alpha, key=1)
    torch.testing.assert_close(layer(x, key=1), linear(x * z, layer.weight, layer.bias))
    layer.eval()
    torch.testing.assert_close(layer(x), linear(x * layer.gate(), layer.weight, layer.bias))
    assert isinstance(layer, nn.Linear)
    assert rp.nn.L0Linear(4, 3, bias=False)(x[:, :4]).shape == (6, 3)


def test_a_convolution_gates_its_outputs():
    """Feature maps, with their bias: a closed one is exactly 0."""
    layer, x = rp.nn.L0Conv2d(2, 40, 3, padding=1, stride=2), torch.randn(6, 2, 7, 7)
    z = hard_concrete(layer.gate.log_alpha, key=1).view(-1, 1, 1)
    expected = conv2d(x, layer.weight, layer.bias, 2, 1) * z
    torch.testing.assert_close(layer(x, key=1), expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(layer(x, key=1) == 0, (expected == 0))
    layer.eval()
    gates = layer.gate().view(-1, 1, 1)
    expected = conv2d(x, layer.weight, layer.bias, 2, 1) * gates
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-6)
    assert rp.nn.L0Conv2d(2, 4, 3, bias=False)(x).shape == (6, 4, 5, 5)


def test_penalties_count_the_parameters_behind_each_gate():
    """Expectations over which gates are open, of their number and of their squares."""
    layer = rp.nn.L0Linear(5, 3)
    layer.gate.log_alpha.data = torch.linspace(-2, 2, 5)
    p = torch.tensor([float(prob_open(a, *SHAPE)) for a in torch.linspace(-2, 2, 5).tolist()])
    assert layer.l0().item() == pytest.approx(3 * p.sum().item(), rel=1e-6)
    expected = sum(p[j] * layer.weight[i, j] ** 2 for i in range(3) for j in range(5))
    torch.testing.assert_close(layer.l2(), expected)
    conv = rp.nn.L0Conv2d(2, 5, 3)
    conv.gate.log_alpha.data = torch.linspace(-2, 2, 5)
    assert conv.l0().item() == pytest.approx((2 * 9 + 1) * p.sum().item(), rel=1e-6)
    squares = torch.stack([w.square().sum() for w in conv.weight]) + conv.bias.square()
    torch.testing.assert_close(conv.l2(), (p * squares).sum())
    bare = rp.nn.L0Conv2d(2, 5, 3, bias=False)
    bare.gate.log_alpha.data = torch.linspace(-2, 2, 5)
    assert bare.l0().item() == pytest.approx(18 * p.sum().item(), rel=1e-6)
    torch.testing.assert_close(
        bare.l2(), (p * torch.stack([w.square().sum() for w in bare.weight])).sum()
    )


def test_penalties_of_half_precision_are_summed_in_single():
    """784 bf16 gates would add up to three digits."""
    layer = rp.nn.L0Linear(784, 300, dtype=torch.bfloat16)
    wide = layer.gate.log_alpha.detach().float()
    expected = 300 * sum(prob_open(a, *SHAPE) for a in wide.tolist())
    assert layer.l0().dtype == torch.float32
    assert layer.l0().item() == pytest.approx(expected, rel=1e-6)


def test_training_keeps_the_inputs_that_matter():
    """Three of twenty inputs carry the target: their gates alone stay open, and pruning tells."""
    generator = seeded(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(rp.nn.L0Linear(20, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.Adam(net.parameters(), 0.03)
    for _ in range(400):
        x = torch.randn(64, 20, generator=generator)
        target = x[:, [2]] - x[:, [7]] + x[:, [11]]
        hidden = net[1](net[0](x, generator=generator))
        loss = (net[2](hidden) - target).square().mean() + 0.01 * net[0].l0()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    assert net[0].gate().nonzero().flatten().tolist() == [2, 7, 11]
    assert rp.nn.prune(net)[0].index.tolist() == [2, 7, 11]
    torch.testing.assert_close(rp.nn.prune(net)(x), net(x), rtol=1e-5, atol=1e-6)
    assert (net(x) - target).square().mean() < 0.05 * target.var()


def test_wrong_arguments_are_refused():
    """With what is usual."""
    message = "dropout: expected a probability in (0, 1), got 1; 0.5 is usual, 0.2"
    with pytest.raises(ValueError, match=re.escape(message)):
        rp.nn.HardConcreteGate(3, dropout=1)
    with pytest.raises(ValueError, match="n: expected an integer >= 1, got 0"):
        rp.nn.HardConcreteGate(0)
    with pytest.raises(ValueError, match="tau: expected a temperature > 0, got 0"):
        rp.nn.L0Linear(3, 4, tau=0)
    with pytest.raises(ValueError, match="gamma: expected a number < 0"):
        rp.nn.L0Conv2d(3, 4, 1, gamma=0.1)
