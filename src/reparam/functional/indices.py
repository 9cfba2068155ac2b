"""Class indices, without a gradient."""

import torch
from torch import Tensor

from reparam.checks import check_count, inspectable
from reparam.functional.logits import perturbed, prepared
from reparam.kernels import indices as kernels
from reparam.noise import Key, Noise

SMALLEST = 2_000  # elements, below which one call costs more than it saves


def gumbel_max(
    logits: Tensor,
    dim: int = -1,
    *,
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    key: Key | None = None,
    validate: bool = True,
) -> Tensor:
    """Sample class indices (int64) from softmax(logits) along `dim`.

    Takes what `gumbel_softmax` takes; a row without an allowed class is always an error. A key
    gives the class that it gives to `gumbel_softmax(hard=True)`.

    >>> gumbel_max(torch.tensor([[0.0, float("-inf")], [float("-inf"), 0.0]])).tolist()
    [0, 1]
    """
    index = sample_indices(
        logits, 1, dim, mask=mask, generator=generator, key=key, validate=validate
    )
    return index[0]


def sample_indices(
    logits: Tensor,
    n: int,
    dim: int = -1,
    *,
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    key: Key | None = None,
    validate: bool = True,
) -> Tensor:
    """Sample n class indices per row, with replacement: int64, `(n, *batch)`.

    What `torch.multinomial(softmax(logits), n, replacement=True)` does, for any number of classes,
    exact in the tail, and without a copy of the logits.

    >>> sample_indices(torch.tensor([0.0, float("-inf")]), 3).tolist()
    [0, 0, 0]
    """
    check_count("n", n)
    logits, _ = prepared(logits.detach(), dim, mask, "error", validate)
    return index_samples(logits.movedim(dim, -1), n, Noise(generator, key=key))


def index_samples(logits: Tensor, n: int, noise: Noise) -> Tensor:
    """Indices `(n, *batch)` of checked logits `(*batch, K)`, by the fastest way for the size."""
    fast = inspectable() and logits.device.type == "cpu" and noise.uniforms is None
    if fast and logits.numel() >= SMALLEST:
        return kernels.sample_indices(logits, n, noise)
    return perturbed(logits, n, noise).argmax(-1)
