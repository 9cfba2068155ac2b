"""A linear or convolutional layer, taken apart for `prune`."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reparam.nn.l0_conv2d import L0Conv2d
from reparam.nn.l0_linear import L0Linear

KEPT = ("kernel_size", "stride", "padding", "dilation", "padding_mode")


def is_dense(layer: nn.Module) -> bool:
    """Whether the layer is one; subclasses may do something else."""
    return type(layer) in (nn.Linear, nn.Conv2d, L0Linear, L0Conv2d)


@dataclass
class Dense:
    """Its weights in float64 with the gates in them, and what of it is used.

    weight: `(outputs, inputs, kernel)`, the kernel of one for a linear layer.
    bias: `(outputs,)`.
    rows: `(outputs,)`, columns: `(inputs,)`: True for those that `built` keeps.
    """

    source: nn.Linear | nn.Conv2d
    weight: Tensor
    bias: Tensor
    rows: Tensor
    columns: Tensor

    @classmethod
    def of(cls, layer: nn.Module) -> "Dense":
        """The layer in eval mode."""
        assert isinstance(layer, (nn.Linear, nn.Conv2d))  # noqa: S101 (`is_dense` says so)
        if isinstance(layer, nn.Conv2d) and layer.groups != 1:
            raise TypeError(f"prune: expected a convolution of one group, got {layer}")
        weight = layer.weight.detach().cpu().double()
        weight = weight.reshape(*weight.shape[:2], -1).clone()
        bias = weight.new_zeros(len(weight))
        if layer.bias is not None:
            bias = layer.bias.detach().cpu().double().clone()
        if isinstance(layer, L0Linear):
            weight = weight * layer.gate.evaluated().detach().cpu().double()[:, None]
        if isinstance(layer, L0Conv2d):
            gates = layer.gate.evaluated().detach().cpu().double()
            weight, bias = weight * gates[:, None, None], bias * gates
        every = [torch.ones(size, dtype=torch.bool) for size in weight.shape[:2]]
        return cls(layer, weight, bias, *every)

    @property
    def outputs(self) -> int:
        """How many units it computes."""
        return self.weight.shape[0]

    @property
    def inputs(self) -> int:
        """How many units it reads."""
        return self.weight.shape[1]

    @property
    def convolves(self) -> bool:
        """Whether its units are feature maps."""
        return isinstance(self.source, nn.Conv2d)

    def fold(self, value: Tensor) -> Tensor:
        """Move constant inputs into the bias; outputs `(outputs,)`, NaN where they vary.

        value: `(inputs,)`, NaN where it varies.
        """
        known = ~value.isnan()
        if isinstance(self.source, nn.Conv2d) and _pads_zeros(self.source):
            known &= value == 0  # another constant is none at the border
        self.bias += self.weight.sum(-1) @ torch.where(known, value, 0)
        self.weight[:, known] = 0
        return self.bias.masked_fill((self.weight != 0).flatten(1).any(1), torch.nan)

    def read(self) -> Tensor:
        """Which inputs have a weight in the used rows, at least one: `(inputs,)`."""
        read = (self.weight[self.rows] != 0).any(-1).any(0)
        read[0] |= not bool(read.any())
        return read

    def built(self) -> nn.Linear | nn.Conv2d:
        """The layer that is left."""
        weight = self.weight[self.rows][:, self.columns]
        bias = self.bias[self.rows]
        outputs, inputs = weight.shape[:2]
        old = self.source
        biased = old.bias is not None or bool(bias.any())
        options: dict[str, Any] = {"device": old.weight.device, "dtype": old.weight.dtype}
        new: nn.Linear | nn.Conv2d
        if isinstance(old, nn.Conv2d):
            options |= {name: getattr(old, name) for name in KEPT}
            new = nn.Conv2d(inputs, outputs, bias=biased, **options)
        else:
            new = nn.Linear(inputs, outputs, biased, **options)
        with torch.no_grad():
            new.weight.copy_(weight.view(new.weight.shape))
            if new.bias is not None:
                new.bias.copy_(bias)
        return new


def _pads_zeros(layer: nn.Conv2d) -> bool:
    pads = layer.padding == "same" or (layer.padding != "valid" and any(layer.padding))
    return bool(pads) and layer.padding_mode == "zeros"
