"""Cut off what a trained network no longer uses."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from reparam.nn.concrete_selector import ConcreteSelector
from reparam.nn.dense import Dense, is_dense
from reparam.nn.select import Select

ELEMENTWISE = (
    *(nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Tanh, nn.Sigmoid, nn.LogSigmoid, nn.Softplus, nn.Softsign, nn.Tanhshrink, nn.Threshold),
    *(nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Hardshrink, nn.Softshrink),
)
IDLE = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)


def prune(module: nn.Module) -> nn.Sequential:
    """A smaller network whose output is that of `module` in eval mode, up to rounding.

    Gates become part of the weights. Then units go that no weight reads, and units that are
    constant, which move into the biases of their readers: a closed gate takes with it whatever fed
    it alone, layer after layer. Inputs of the network are left out by `Select`. At least one unit
    of each layer stays.

    module: an `nn.Sequential`, perhaps of others, of `L0Linear`, `L0Conv2d`, `ConcreteSelector`,
        `nn.Linear` and `nn.Conv2d`; between them activations, dropout, two-dimensional pooling and
        Flatten; before the first and after the last anything. A TypeError tells what else it met.

    >>> from reparam.nn import L0Linear
    >>> net = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), L0Linear(300, 10))
    >>> with torch.no_grad():
    ...     net[2].gate.log_alpha[30:] = -5  # closed
    >>> prune(net)
    Sequential(
      (0): Linear(in_features=784, out_features=30, bias=True)
      (1): ReLU()
      (2): Linear(in_features=30, out_features=10, bias=True)
    )
    """
    chain = [Dense.of(layer) if is_dense(layer) else layer for layer in _flat(module)]
    layers = [layer for layer in chain if isinstance(layer, Dense)]
    if not layers:
        raise TypeError(
            "prune: expected nn.Sequential with a linear or convolutional layer in it, got "
            f"{type(module).__name__}"
        )
    last = max(i for i, layer in enumerate(chain) if isinstance(layer, Dense))
    _fold_constants(chain[: last + 1])
    _mark_used(layers)
    return nn.Sequential(*_rebuilt(chain, last)).train(module.training)


@dataclass(frozen=True)
class _Signal:
    """What passes between two layers.

    value: `(units,)` in float64, NaN where it depends on the input.
    kind: what a unit is: a feature, a map, or all features of a map that was flattened.
    """

    value: Tensor
    kind: Literal["features", "maps", "flattened"]


def _flat(module: nn.Module) -> Iterator[nn.Module]:
    if type(module) is not nn.Sequential:
        yield module
        return
    for child in module:
        yield from _flat(child)


def _fold_constants(chain: list[nn.Module | Dense]) -> None:
    """From the input to the last layer: constants go into biases, their weights become 0."""
    signal = None  # nothing is known of the input
    for layer in chain:
        if isinstance(layer, Dense):
            value = layer.fold(_read(layer, signal))
            signal = _Signal(value, "maps" if layer.convolves else "features")
        elif isinstance(layer, ConcreteSelector):
            signal = _selected(layer, signal)
        elif signal is not None:
            signal = _passed(layer, signal)


def _read(layer: Dense, signal: _Signal | None) -> Tensor:
    """The signal as the layer's inputs."""
    if signal is None:
        return torch.full((layer.inputs,), torch.nan, dtype=torch.float64)
    return _spread(repr(layer.source), layer.inputs, signal, maps=layer.convolves)


def _spread(reader: str, inputs: int, signal: _Signal, *, maps: bool) -> Tensor:
    units = len(signal.value)
    each = inputs // units if signal.kind == "flattened" else 1
    if (signal.kind == "maps") != maps or each * units != inputs:
        raise TypeError(
            f"prune: expected {inputs} {'maps' if maps else 'features'} before {reader}, got "
            f"{units} {signal.kind}; between maps and a linear layer put nn.Flatten()"
        )
    return signal.value.repeat_interleave(each)


def _selected(selector: ConcreteSelector, signal: _Signal | None) -> _Signal:
    """What is not selected is 0."""
    features = len(selector.logits)
    value = torch.full((features,), torch.nan, dtype=torch.float64)
    if signal is not None:
        value = _spread(repr(selector), features, signal, maps=False)
    left_out = torch.ones(features, dtype=torch.bool)
    left_out[selector.selected.cpu()] = False
    return _Signal(value.masked_fill(left_out, 0), "features")


def _passed(layer: nn.Module, signal: _Signal) -> _Signal:
    """The signal behind a layer without units of its own."""
    maps = signal.kind == "maps"
    if isinstance(layer, IDLE) or (maps and isinstance(layer, POOLS) and _keeps(layer)):
        return signal
    if isinstance(layer, ELEMENTWISE):
        value = layer(signal.value.nan_to_num())
        return replace(signal, value=value.masked_fill(signal.value.isnan(), torch.nan))
    if maps and isinstance(layer, nn.AvgPool2d):
        return replace(signal, value=signal.value.masked_fill(signal.value != 0, torch.nan))
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1):
        return replace(signal, kind="flattened") if maps else signal
    raise TypeError(
        "prune: expected activations, dropout, pooling of maps, or nn.Flatten() between linear "
        f"and convolutional layers, got {layer}; fold it into its neighbour "
        "(torch.nn.utils.fuse_conv_bn_eval does for nn.BatchNorm2d), or prune the parts before and "
        "after it"
    )


def _keeps(pool: nn.Module) -> bool:
    """Whether pooling leaves constants as they are: a mean that counts padding does not."""
    if not isinstance(pool, nn.AvgPool2d):
        return True
    padded = pool.padding not in (0, (0, 0)) and pool.count_include_pad
    return not padded and pool.divisor_override is None


def _mark_used(layers: list[Dense]) -> None:
    """From the output to the input: what no weight reads is not computed."""
    after: Dense | None = None
    for layer in reversed(layers):
        if after is not None:
            layer.rows = after.columns.view(layer.outputs, -1).any(1)
        layer.columns = layer.read()
        after = layer


def _rebuilt(chain: list[nn.Module | Dense], last: int) -> Iterator[nn.Module]:
    available: Tensor | None = None
    for i, layer in enumerate(chain):
        if isinstance(layer, Dense):
            yield from _with_selection(layer, available)
            available = layer.rows
        elif i > last or not isinstance(layer, ConcreteSelector):
            yield deepcopy(layer)


def _with_selection(layer: Dense, rows: Tensor | None) -> Iterator[nn.Module]:
    """The layer, behind a selection of those of its inputs that it reads, if it is not all."""
    available = torch.ones_like(layer.columns)
    if rows is not None:
        available = rows.repeat_interleave(layer.inputs // len(rows))
    if not torch.equal(available, layer.columns):
        index = layer.columns[available].nonzero().squeeze(-1)
        yield Select(index.to(layer.source.weight.device), -3 if layer.convolves else -1)
    yield layer.built()
