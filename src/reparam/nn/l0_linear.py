"""A linear layer that learns which of its inputs it needs."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from reparam.nn.gate import HardConcreteGate
from reparam.noise import Key


class L0Linear(nn.Linear):
    """`nn.Linear` with a hard concrete gate on each input: (x * gate) W^T + b.

    Louizos et al. 2018, section 4.1, arXiv:1712.01312: inputs are hidden units of the layer
    before. One set of gates serves all rows of a forward. Train on
    `loss + strength * l0() / examples`; `prune` cuts the closed inputs off.

    in_features, out_features, bias, device, dtype: as of `nn.Linear`.
    dropout, tau, gamma, zeta: as of `HardConcreteGate`, which is `gate`.

    >>> layer = L0Linear(784, 300, dropout=0.2)
    >>> layer(torch.zeros(2, 784)).shape, layer.l0().item() < 784 * 300
    (torch.Size([2, 300]), True)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dropout: float = 0.5,
        tau: float = 2 / 3,
        gamma: float = -0.1,
        zeta: float = 1.1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self.gate = HardConcreteGate(
            in_features, dropout, tau, gamma, zeta, device=device, dtype=dtype
        )

    def forward(
        self, x: Tensor, *, generator: torch.Generator | None = None, key: Key | None = None
    ) -> Tensor:
        return linear(x * self.gate(generator=generator, key=key), self.weight, self.bias)

    def l0(self) -> Tensor:
        """The expected number of weights whose gate is open; the bias has none."""
        return self.out_features * self.gate.l0()

    def l2(self) -> Tensor:
        """The expected sum of squares of those weights, which weight decay is half of.

        Louizos et al. 2018, section 2.3: unlike decay of all weights, it lets closed ones rest.
        """
        return self.gate.prob_open() @ self.weight.square().sum(0)
