"""prune: the same outputs from fewer units, in every kind of chain it knows."""

import pytest
import torch
from torch import Tensor, nn

import reparam as rp
from acceptance import seeded
from reparam.nn import ConcreteSelector, L0Conv2d, L0Linear, Select, prune

ACTIVATIONS = [
    *(nn.ReLU(), nn.LeakyReLU(), nn.ReLU6(), nn.ELU(), nn.CELU(), nn.SELU(), nn.GELU(), nn.SiLU()),
    *(nn.Mish(), nn.Tanh(), nn.Sigmoid(), nn.LogSigmoid(), nn.Softplus(), nn.Softsign()),
    *(nn.Tanhshrink(), nn.Threshold(0.1, 0.7), nn.Hardtanh(), nn.Hardsigmoid(), nn.Hardswish()),
    *(nn.Hardshrink(), nn.Softshrink()),
]


def close(layer: nn.Module, *gates: int) -> None:
    """Close these gates, open the others by different amounts."""
    open_ = torch.linspace(-0.5, 3, layer.gate.n)
    open_[list(gates)] = -9
    layer.gate.log_alpha.data = open_.to(layer.gate.log_alpha)


def sizes(net: nn.Module) -> list[tuple[int, ...]]:
    """Of the weights."""
    return [tuple(p.shape) for p in net.parameters() if p.ndim > 1]


def assert_same(net: nn.Module, x: Tensor) -> nn.Sequential:
    """The pruned network gives what the network gives in eval mode, to 1e-6."""
    net = net.double()
    small = prune(net)
    net.eval()
    small.eval()
    torch.testing.assert_close(small(x.double()), net(x.double()), rtol=1e-9, atol=1e-10)
    single = prune(net.float()).eval()
    torch.testing.assert_close(single(x), net(x), rtol=1e-6, atol=1e-6)
    return small


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: type(a).__name__)
def test_closed_inputs_take_their_units_with_them(activation):
    """LeNet-300-100 in small: inputs are selected, units go; constants go into biases."""
    net = nn.Sequential(
        nn.Flatten(), L0Linear(12, 9), activation, L0Linear(9, 7), activation, L0Linear(7, 3)
    )
    close(net[1], 0, 1, 5)
    close(net[3], 2, 3)
    close(net[5], 6)
    with torch.no_grad():
        net[1].weight[4] = 0  # a unit that is constant, and read
    small = assert_same(net, torch.randn(5, 3, 4, generator=seeded(0)))
    assert isinstance(small[1], Select)
    assert small[1].index.tolist() == [2, 3, 4, 6, 7, 8, 9, 10, 11]
    assert sizes(small) == [(6, 9), (6, 6), (3, 6)]


def test_chains_of_consequences_are_followed():
    """A unit read by none is cut, then what it alone read, and so on to the input."""
    net = nn.Sequential(
        nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4, bias=False)
    )
    with torch.no_grad():
        for layer in net[::2]:
            layer.weight.copy_(torch.eye(4))
        net[4].weight[:, 1] = 0
        net[0].weight[2] = 0  # constant, so is what it feeds
        net[0].bias[2] = net[2].bias[2] = 0.3
    small = assert_same(net, torch.randn(5, 4, generator=seeded(0)))
    assert sizes(small) == [(2, 2), (2, 2), (4, 2)]
    assert small[0].index.tolist() == [0, 3]
    assert small[-1].bias.tolist() == pytest.approx([0, 0, 0.6, 0])


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2)])
@pytest.mark.parametrize("padding", [0, 1, "same", "valid"])
def test_convolutions_lose_channels(pool, padding):
    """LeNet-5 in small: maps go from one convolution, the next and the flattened features."""
    net = nn.Sequential(
        nn.Sequential(L0Conv2d(2, 6, 3, padding=padding), nn.Sigmoid(), pool),
        nn.Sequential(L0Conv2d(6, 5, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(2)),
        nn.Flatten(),
        nn.Dropout(0.5),
        L0Linear(20, 8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )
    close(net[0][0], 0, 3)
    close(net[1][0], 2)
    close(net[4], 0, 1, 2, 3, 5, 9, 10, 11)  # all of map 0, one feature of map 1
    small = assert_same(net, torch.randn(4, 2, 8, 8, generator=seeded(0)))
    # sigmoid(0) is no constant at the border that the second convolution pads with 0.
    assert sizes(small) == [(6, 2, 3, 3), (3, 6, 3, 3), (8, 11), (3, 8)]
    select = next(m for m in small if isinstance(m, Select))
    assert select.index.tolist() == [0, 2, 3, *range(4, 12)]


@pytest.mark.parametrize(
    ("padding", "mode", "left"),
    [(0, "zeros", 4), (1, "zeros", 6), (1, "replicate", 4), (1, "circular", 4), (1, "reflect", 4)],
)
def test_constant_maps_fold_where_the_border_allows(padding, mode, left):
    """Zeros around a constant map make it vary; other paddings, and ReLU's 0, do not."""
    for activation, count in ((nn.Sigmoid(), left), (nn.ReLU(), 4)):
        net = nn.Sequential(
            L0Conv2d(1, 6, 3),
            activation,
            nn.Conv2d(6, 4, 3, padding=padding, padding_mode=mode, stride=2, dilation=2),
        )
        close(net[0], 1, 4)
        small = assert_same(net, torch.randn(2, 1, 12, 12, generator=seeded(0)))
        assert sizes(small) == [(count, 1, 3, 3), (4, count, 3, 3)]


@pytest.mark.parametrize(
    "pool",
    [
        nn.AvgPool2d(2, padding=1),
        nn.AvgPool2d(2, padding=1, count_include_pad=False),
        nn.AvgPool2d(2, divisor_override=3),
        nn.AvgPool2d(3, ceil_mode=True),
        nn.MaxPool2d(2, padding=1),
        nn.AdaptiveMaxPool2d(3),
    ],
    ids=str,
)
def test_constant_maps_pass_pools_as_they_are_or_not_at_all(pool):
    """A mean that counts the padding changes them at the border."""
    net = nn.Sequential(L0Conv2d(1, 5, 3), nn.Sigmoid(), pool, nn.Flatten(), nn.LazyLinear(3))
    x = torch.randn(2, 1, 10, 10, generator=seeded(0))
    net(x)
    close(net[0], 0, 2)
    small = assert_same(net, x)
    exact = isinstance(pool, nn.AvgPool2d) and (
        (pool.padding and pool.count_include_pad) or pool.divisor_override
    )
    assert sizes(small)[0] == ((5 if exact else 3), 1, 3, 3)
    assert_same(nn.Sequential(net[0], nn.ReLU(), *net[2:]), x)
    assert sizes(prune(nn.Sequential(net[0], nn.ReLU(), *net[2:])))[0] == (3, 1, 3, 3)


def test_a_selector_becomes_an_index():
    """Before the first layer, behind another, and behind flattened maps."""
    first = nn.Sequential(ConcreteSelector(10, 3), nn.Tanh(), nn.Linear(10, 4))
    nn.init.normal_(first[0].logits)
    small = assert_same(first, torch.randn(5, 10, generator=seeded(0)))
    assert [type(m) for m in small] == [nn.Tanh, Select, nn.Linear]
    assert torch.equal(small[1].index, first[0].selected)
    inner = nn.Sequential(nn.Linear(6, 10), nn.Sigmoid(), *first)
    small = assert_same(inner, torch.randn(5, 6, generator=seeded(0)))
    assert sizes(small) == [(3, 6), (4, 3)]
    maps = nn.Sequential(nn.Conv2d(1, 5, 2), nn.Flatten(), *first)
    small = assert_same(maps, torch.randn(4, 1, 2, 3, generator=seeded(0)))
    assert sizes(small)[-1] == (4, 3)
    last = nn.Sequential(nn.Linear(6, 10), first[0])
    assert_same(last, torch.randn(5, 6, generator=seeded(0)))


def test_one_unit_is_always_left():
    """Where every gate is closed the output is a constant, as before."""
    net = nn.Sequential(L0Linear(4, 3), nn.Sigmoid(), L0Linear(3, 2))
    close(net[0], 0, 1, 2, 3)
    close(net[2], 0, 1, 2)
    small = assert_same(net, torch.randn(5, 4, generator=seeded(0)))
    assert sizes(small) == [(1, 1), (2, 1)]
    conv = nn.Sequential(L0Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3))
    close(conv[0], 0, 1, 2)
    assert sizes(assert_same(conv, torch.randn(5, 2, 7, 7))) == [(1, 1, 3, 3), (2, 1, 3, 3)]


def test_the_original_is_left_alone_and_dtypes_are_kept():
    """A half network gives a half network; parameters are new; the gates' noise is gone."""
    net = nn.Sequential(L0Linear(6, 5, dtype=torch.bfloat16), nn.ReLU(), nn.Linear(5, 2).bfloat16())
    close(net[0], 1)
    before = [p.clone() for p in net.parameters()]
    small = prune(net)
    assert {p.dtype for p in small.parameters()} == {torch.bfloat16}
    assert all(p.requires_grad for p in small.parameters())
    with torch.no_grad():
        for p in small.parameters():
            p.zero_()
    assert all(torch.equal(*pair) for pair in zip(before, net.parameters(), strict=True))
    assert type(prune(nn.Linear(3, 2))[0]) is nn.Linear
    assert prune(net).training
    assert not prune(net.eval()).training


def test_what_lies_outside_may_be_anything():
    """Before the first layer and after the last one."""
    net = nn.Sequential(
        nn.LayerNorm(6), nn.Unflatten(1, (2, 3)), nn.Flatten(), L0Linear(6, 4), nn.Softmax(-1)
    )
    close(net[3], 2)
    small = assert_same(net, torch.randn(5, 6, generator=seeded(0)))
    assert sizes(small) == [(4, 5)]


class Residual(nn.Linear):
    """A linear layer that does something else too."""

    def forward(self, x):
        return x + super().forward(x)


@pytest.mark.parametrize(
    ("middle", "message"),
    [
        ([nn.LayerNorm(4)], r"got LayerNorm\(.*\); fold it into its neighbour"),
        ([nn.PReLU()], r"got PReLU\(num_parameters=1\)"),
        ([Residual(4, 4)], "got Residual"),
        ([nn.Flatten(0)], r"got Flatten\(start_dim=0"),
        ([nn.MaxPool2d(2)], "got MaxPool2d"),
        ([nn.Conv2d(4, 4, 1)], "expected 4 maps before Conv2d.*, got 4 features"),
        ([nn.Linear(8, 4)], "expected 8 features before Linear.*, got 4 features"),
        ([nn.Conv2d(4, 4, 1, groups=2)], "expected a convolution of one group, got Conv2d"),
    ],
)
def test_what_is_not_understood_is_refused(middle, message):
    """By a TypeError that names the layer, and says what to do."""
    with pytest.raises(TypeError, match=message):
        prune(nn.Sequential(nn.Linear(3, 4), *middle, nn.Linear(4, 2)))


def test_maps_must_be_flattened_and_something_must_be_dense():
    """Both with the fix, or what was given."""
    with pytest.raises(TypeError, match=r"got 4 maps; .* put nn.Flatten\(\)"):
        prune(nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Linear(4, 2)))
    with pytest.raises(TypeError, match=r"expected nn.Sequential with a linear .*, got Bilinear"):
        prune(nn.Bilinear(3, 4, 2))
    with pytest.raises(TypeError, match=r"expected 7 features before Linear.*, got 4 flattened"):
        prune(nn.Sequential(nn.Conv2d(1, 4, 1), nn.Flatten(), nn.Linear(7, 2)))
    assert rp.nn.prune is prune
