"""Which experts a token goes to, and what keeps them all in use."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


def unchanged(costs: Tensor) -> Tensor:
    """The costs: the choice has no gradient of its own, or the weights carry it."""
    return costs


class Routing(NamedTuple):
    """Tokens `(*batch)` on their way to k of E experts.

    indices: `(*batch, k)`, the experts.
    weights: `(*batch, k)`, to combine their outputs with; 0 for padding.
    logits: `(*batch, E)`, in at least float32.
    mask: `(*batch)`, True for tokens, False for padding; None if there is none.
    combine: tokens' costs `(*batch)` -> the same, with the router's estimate of the gradient of the
        choice, where the weights do not carry it.

    The auxiliary losses are means over the tokens of this process, to be added to the loss with
    small coefficients.

    >>> even = Routing(torch.tensor([[0], [1]]), torch.ones(2, 1) / 2, torch.zeros(2, 2))
    >>> even.load_balance().item(), even.importance().item()
    (1.0, 0.0)
    """

    indices: Tensor
    weights: Tensor
    logits: Tensor
    mask: Tensor | None = None
    combine: Callable[[Tensor], Tensor] = unchanged

    def dense(self) -> Tensor:
        """The weights of all experts, `(*batch, E)`: 0 where a token does not go."""
        zeros = self.weights.new_zeros(self.logits.shape)
        return zeros.scatter(-1, self.indices, self.weights)

    def load_balance(self) -> Tensor:
        """E sum_i f_i P_i: f_i expert i's share of the choices, P_i its mean probability.

        Fedus et al. 2021, "Switch Transformers", section 2.2, arXiv:2101.03961. 1 where both are
        even; the gradient is that of P. Their coefficient is 0.01.
        """
        chosen = torch.zeros_like(self.logits).scatter(-1, self.indices, 1.0)
        share = self._mean(chosen) / self.indices.shape[-1]
        return self.logits.shape[-1] * (share * self._mean(self.logits.softmax(-1))).sum()

    def z_loss(self) -> Tensor:
        """Mean of log(sum exp(logits))^2, which keeps logits small.

        Zoph et al. 2022, "ST-MoE", arXiv:2202.08906. Their coefficient is 0.001.
        """
        return self._mean(self.logits.logsumexp(-1, keepdim=True).square()).squeeze(-1)

    def importance(self) -> Tensor:
        """Variance over squared mean of the weights that the experts have in all.

        Shazeer et al. 2017, "Outrageously large neural networks", section 4, arXiv:1701.06538.
        """
        total = self._mean(self.dense().to(self.logits.dtype))
        least = torch.finfo(total.dtype).tiny ** 0.5
        return total.var(correction=0) / total.mean().clamp(min=least).square()

    def _mean(self, values: Tensor) -> Tensor:
        """Of values `(*batch, E)`, over the tokens; 0 without any."""
        flat = values.reshape(-1, values.shape[-1])
        if self.mask is None:
            return flat.sum(0) / max(1, len(flat))
        tokens = self.mask.reshape(-1, 1)
        return flat.masked_fill(~tokens, 0).sum(0) / tokens.sum().clamp(min=1)
