"""Class indices, without a gradient."""

import torch
from torch import Tensor

from reparam.functional.logits import perturbed, prepared
from reparam.noise import Key, Noise


def gumbel_max(
    logits: Tensor,
    dim: int = -1,
    *,
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    key: Key | None = None,
    validate: bool = True,
) -> Tensor:
    """Sample class indices (int64) from softmax(logits) along `dim`, by the Gumbel-max trick.

    Takes what `gumbel_softmax` takes; a row without an allowed class is always an error.

    >>> gumbel_max(torch.tensor([[0.0, float("-inf")], [float("-inf"), 0.0]])).tolist()
    [0, 1]
    """
    logits, _ = prepared(logits.detach(), dim, mask, "error", validate)
    return perturbed(logits, dim, Noise(generator, key=key)).argmax(dim)


def gumbel_argmax(logits: Tensor, n: int, noise: Noise) -> Tensor:
    """n samples of class indices: logits `(*, K)` -> `(n, *)`, int64."""
    return (logits + noise.gumbel(n, logits)).argmax(-1)
