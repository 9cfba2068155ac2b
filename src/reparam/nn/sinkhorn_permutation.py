"""A layer that turns scores into a permutation."""

import torch
from torch import Tensor, nn

from reparam.checks import check_count
from reparam.functional import gumbel_sinkhorn, matching
from reparam.nn.temperature import Temperature
from reparam.noise import Key
from reparam.schedules import Schedule


class SinkhornPermutation(nn.Module):
    """Scores to matrices: relaxed permutations in training, the best permutation in eval mode.

    Mena et al. 2018, "Learning latent permutations with Gumbel-Sinkhorn networks",
    arXiv:1802.08665. In eval mode there is no noise and no gradient, and the assignment is solved
    by SciPy: `pip install 'reparam[structured]'`.

    tau: the temperature or its schedule, advanced by `anneal`. n_iters: of Sinkhorn's algorithm;
        low temperatures need more, as the residual of `functional.gumbel_sinkhorn` tells.

    Takes and returns `(*batch, n, n)`. A layer from features to scores makes it depend on what is
    permuted; a parameter as scores learns one permutation.

    >>> net = nn.Sequential(nn.Linear(7, 4), SinkhornPermutation()).eval()
    >>> items = torch.arange(28.0).view(4, 7)
    >>> (net(items).mT @ items).sum(0).equal(items.sum(0))  # the items in another order
    True
    """

    def __init__(self, tau: Schedule | float = 1.0, n_iters: int = 20) -> None:
        super().__init__()
        check_count("n_iters", n_iters)
        self.n_iters = n_iters
        self.temperature = Temperature(tau)

    def forward(
        self, scores: Tensor, *, generator: torch.Generator | None = None, key: Key | None = None
    ) -> Tensor:
        if not self.training:
            return matching(scores)
        tau = self.temperature()
        balanced, _ = gumbel_sinkhorn(scores, tau, self.n_iters, generator=generator, key=key)
        return balanced

    def extra_repr(self) -> str:
        return f"n_iters={self.n_iters}"
