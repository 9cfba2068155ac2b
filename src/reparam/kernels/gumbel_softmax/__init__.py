"""softmax((logits + G) / tau), of logits between which and the noise nothing overflows."""

from torch import Tensor

from reparam.kernels.gumbel_softmax import chunked
from reparam.noise import Noise

SMALLEST = 4_000  # elements, below which one call costs more than it saves


def serves(logits: Tensor) -> bool:
    """Whether there is a faster way than the plain formula, for the size and the device."""
    return logits.numel() >= SMALLEST and logits.device.type == "cpu"


def gumbel_softmax(logits: Tensor, tau: float, hard: bool, noise: Noise, n: int = 1) -> Tensor:
    """Samples `(n, *batch, K)` of float32 logits `(*batch, K)`; differentiable, twice.

    hard: the one-hot of the largest entry (the first, among equals), with the soft gradient.
    """
    return chunked.gumbel_softmax(logits, tau, hard, noise, n)
