"""A small classifier that learns which of its inputs and hidden units it needs."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from reparam.models.networks import Shape
from reparam.nn import L0Linear

WIDTHS = (300, 100)


class L0LeNet(nn.Module):
    """LeNet-300-100 with a hard concrete gate on each pixel and each hidden unit.

    LeCun et al. 1998, "Gradient-based learning applied to document recognition"; the gates, which
    begin with dropout rates of .2 and .5: Louizos et al. 2018, arXiv:1712.01312.

    shape: (C, H, W) of an image.

    Takes images `(B, C, H, W)` and returns logits `(B, classes)`. `prune(model.layers)` is the
    network that is left.

    >>> model = L0LeNet((1, 28, 28), classes=10).eval()
    >>> model(torch.zeros(2, 1, 28, 28)).shape, model.widths()
    (torch.Size([2, 10]), [784, 300, 100])
    """

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        first, second = WIDTHS
        self.layers = nn.Sequential(
            nn.Flatten(),
            L0Linear(prod(shape), first, dropout=0.2),
            nn.ReLU(),
            L0Linear(first, second),
            nn.ReLU(),
            L0Linear(second, classes),
        )

    def forward(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, generator=generator) if isinstance(layer, L0Linear) else layer(x)
        return x

    @property
    def gated(self) -> list[L0Linear]:
        """The layers with gates, from the pixels on."""
        return [layer for layer in self.layers if isinstance(layer, L0Linear)]

    def widths(self) -> list[int]:
        """How many pixels and units of each hidden layer are open in eval mode."""
        return [int((layer.gate.evaluated() > 0).sum()) for layer in self.gated]

    def l0(self) -> Tensor:
        """The expected number of weights behind an open gate, of each layer."""
        return torch.stack([layer.l0() for layer in self.gated])

    def multiplications(self) -> Tensor:
        """The expected number for an image, a scalar: of open inputs by open outputs.

        The noise of two layers is independent, so that the expectation is the product's.
        """
        open_ = [layer.gate.l0() for layer in self.gated]
        outputs = [*open_[1:], open_[0].new_tensor(self.gated[-1].out_features)]
        return torch.stack([a * b for a, b in zip(open_, outputs, strict=True)]).sum()


def linear_widths(network: nn.Module) -> list[int]:
    """The inputs of each linear layer."""
    return [layer.in_features for layer in network.modules() if isinstance(layer, nn.Linear)]


def weights(network: nn.Module) -> int:
    """How many weights the linear layers have, biases left out."""
    return sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Linear))


def dense(widths: Sequence[int]) -> nn.Sequential:
    """The same network without gates, to compare with: linear layers from width to width."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
