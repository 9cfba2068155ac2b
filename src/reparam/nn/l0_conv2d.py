"""A convolution that learns which of its feature maps are needed."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.common_types import _size_2_t

from reparam.nn.gate import HardConcreteGate
from reparam.noise import Key


class L0Conv2d(nn.Conv2d):
    """`nn.Conv2d` with a hard concrete gate on each output channel, its bias included.

    Louizos et al. 2018, section 4.1, arXiv:1712.01312. One set of gates serves all images of a
    forward. Train on `loss + strength * l0() / examples`; `prune` cuts the closed channels off.

    dropout, tau, gamma, zeta: as of `HardConcreteGate`, which is `gate`.
    options: `stride`, `padding` and whatever else `nn.Conv2d` takes.

    >>> layer = L0Conv2d(1, 20, 5)
    >>> layer(torch.zeros(2, 1, 28, 28)).shape, layer.l0().item() < 20 * 26
    (torch.Size([2, 20, 24, 24]), True)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _size_2_t,
        *,
        dropout: float = 0.5,
        tau: float = 2 / 3,
        gamma: float = -0.1,
        zeta: float = 1.1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, device=device, dtype=dtype, **options
        )
        self.gate = HardConcreteGate(
            out_channels, dropout, tau, gamma, zeta, device=device, dtype=dtype
        )

    def forward(
        self, x: Tensor, *, generator: torch.Generator | None = None, key: Key | None = None
    ) -> Tensor:
        # Gates on the parameters, which are fewer than the outputs, and of one dtype with them.
        gates = self.gate(generator=generator, key=key)
        bias = None if self.bias is None else self.bias * gates
        maps: Tensor = self._conv_forward(x, self.weight * gates.view(-1, 1, 1, 1), bias)
        return maps

    def l0(self) -> Tensor:
        """The expected number of weights and biases whose gate is open."""
        return (self.weight[0].numel() + (self.bias is not None)) * self.gate.l0()

    def l2(self) -> Tensor:
        """The expected sum of squares of those weights and biases; see `L0Linear.l2`."""
        squares = self.weight.square().flatten(1).sum(1)
        squares = squares if self.bias is None else squares + self.bias.square()
        return self.gate.prob_open() @ squares
