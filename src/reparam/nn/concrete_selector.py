"""A layer that learns which k of its inputs to keep."""

import torch
from torch import Tensor, nn

from reparam.checks import check_count
from reparam.functional import hard_topk, relaxed_topk
from reparam.nn.temperature import Temperature
from reparam.noise import Key
from reparam.schedules import Schedule


class ConcreteSelector(nn.Module):
    """x times a mask of k features: relaxed and random in training, the k likeliest in eval mode.

    For the purpose of Abid et al. 2019, "Concrete autoencoders", arXiv:1901.09346, who draw k
    independent concrete variables, which may choose a feature twice. Here one mask of sum k is
    drawn (`functional.relaxed_topk`), whose limit at temperature 0 is k different features, and
    inputs keep their places. `prune` turns a trained selector into an index of k features.

    features, k: how many there are, and how many are kept.
    tau: the temperature or its schedule, advanced by `anneal`. Anneal it, from about 10 to .01 as
        they do: a soft mask lets a network see more than k features.

    Takes and returns `(*batch, features)`; one mask serves the whole batch.

    >>> selector = ConcreteSelector(10, k=3).eval()
    >>> selector(torch.ones(2, 10)).sum(-1).tolist()
    [3.0, 3.0]
    """

    def __init__(
        self,
        features: int,
        k: int,
        tau: Schedule | float = 1.0,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_count("features", features)
        check_count("k", k)
        if k > features:
            raise ValueError(f"k: expected at most the {features} features, got {k}")
        self.k = k
        self.logits = nn.Parameter(torch.zeros(features, device=device, dtype=dtype))
        self.temperature = Temperature(tau)

    def forward(
        self, x: Tensor, *, generator: torch.Generator | None = None, key: Key | None = None
    ) -> Tensor:
        if not self.training:
            return x * hard_topk(self.logits, self.k)
        tau = self.temperature()
        return x * relaxed_topk(self.logits, self.k, tau, generator=generator, key=key)

    @property
    def selected(self) -> Tensor:
        """The k likeliest features, in increasing order: int64 `(k,)`."""
        return hard_topk(self.logits, self.k).nonzero().squeeze(-1)

    def extra_repr(self) -> str:
        return f"features={len(self.logits)}, k={self.k}"
