"""Gates that open and close in training, and what they cost."""

from math import log

import torch
from torch import Tensor, nn

from reparam.checks import check_count, working_dtype
from reparam.functional import hard_concrete, hard_concrete_eval, hard_concrete_l0
from reparam.noise import Key


class HardConcreteGate(nn.Module):
    """n gates in [0, 1]: sampled anew by each forward in training, fixed in eval mode.

    Louizos et al. 2018, "Learning sparse neural networks through L0 regularization",
    arXiv:1712.01312.

    dropout: sigmoid(log_alpha) starts near 1 - dropout, in (0, 1). That is the gate of evaluation
        before it is stretched; P(gate != 0) is larger, .83 at .5.
    tau, gamma, zeta: as in `functional.hard_concrete`.

    Returns gates `(n,)`, each with noise of its own.

    >>> gate = HardConcreteGate(5).eval()
    >>> (gate() > 0.4).all().item(), gate.l0().item() > 4
    (True, True)
    """

    def __init__(
        self,
        n: int,
        dropout: float = 0.5,
        tau: float = 2 / 3,
        gamma: float = -0.1,
        zeta: float = 1.1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_count("n", n)
        if not 0 < dropout < 1:
            raise ValueError(
                f"dropout: expected a probability in (0, 1), got {dropout}; 0.5 is usual, "
                "0.2 for the inputs of a network"
            )
        self.n, self.dropout = n, dropout
        self.tau, self.gamma, self.zeta = tau, gamma, zeta
        self.log_alpha = nn.Parameter(torch.empty(n, device=device, dtype=dtype))
        self.reset_parameters()
        self.prob_open()  # refuses a wrong temperature or interval

    def reset_parameters(self) -> None:
        """Start again near the dropout rate; equal gates would close together."""
        nn.init.normal_(self.log_alpha, log(1 / self.dropout - 1), 0.01)

    def forward(
        self, *, generator: torch.Generator | None = None, key: Key | None = None
    ) -> Tensor:
        if not self.training:
            return self.evaluated()
        return hard_concrete(
            self.log_alpha, self.tau, self.gamma, self.zeta, generator=generator, key=key
        )

    def evaluated(self) -> Tensor:
        """The gates of eval mode `(n,)`."""
        return hard_concrete_eval(self.log_alpha, self.gamma, self.zeta)

    def prob_open(self) -> Tensor:
        """P(gate != 0) `(n,)`, in at least float32."""
        wide = self.log_alpha.to(working_dtype(self.log_alpha.dtype))
        return hard_concrete_l0(wide, self.tau, self.gamma, self.zeta)

    def l0(self) -> Tensor:
        """The expected number of open gates, in closed form."""
        return self.prob_open().sum()

    def extra_repr(self) -> str:
        return (
            f"{self.n}, dropout={self.dropout}, tau={self.tau:.4g}, gamma={self.gamma}, "
            f"zeta={self.zeta}"
        )
