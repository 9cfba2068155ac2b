"""softmax((logits + G) / tau), of logits between which and the noise nothing overflows."""

import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from reparam import fast
from reparam.kernels.gumbel_softmax import chunked
from reparam.noise import Noise

SMALLEST = 4_000  # elements, below which one call costs more than it saves


def serves(logits: Tensor) -> bool:
    """Whether there is a faster way than the plain formula, for the size and the device."""
    if logits.is_cuda:
        kernel = on_gpu(logits.device)
        return kernel is not None and bool(kernel.serves(logits))
    return logits.numel() >= SMALLEST and logits.is_cpu


def gumbel_softmax(
    logits: Tensor, tau: float, hard: bool, noise: Noise, n: int | None = None, *, size: float
) -> Tensor:
    """A sample `(*batch, K)`, or n `(n, *batch, K)`, of logits of single or half precision.

    Computed in float32, given in the dtype of the logits; differentiable, twice. hard: the one-hot
    of the largest entry (the first, among equals), with the soft gradient. size: the largest
    absolute value of the logits.
    """
    y: Tensor
    if logits.device.type == "cuda":
        y = on_gpu(logits.device).gumbel_softmax(logits, tau, hard, noise, n)  # type: ignore[union-attr]
    elif kernel := fast.kernel(f"{__name__}.compiled"):
        y = kernel.gumbel_softmax(logits, tau, hard, noise, n)
    else:
        y = chunked.gumbel_softmax(logits, tau, hard, noise, n, size=size)
    return y


@cache
def on_gpu(device: torch.device) -> ModuleType | None:
    """The kernels for a GPU, once they are seen to run there; None without Triton."""
    if find_spec("triton") is None:
        return None
    try:
        module = import_module(f"{__name__}.cuda")
        module.gumbel_softmax(torch.zeros(1, 2, device=device), 1.0, False, Noise(key=0))
    except Exception as error:  # noqa: BLE001 (whatever a compiler may raise, torch remains)
        reason = f"Triton cannot run on {device}: {type(error).__name__}: {error}"
        warnings.warn(f"reparam: {reason}; the plain formula is used", RuntimeWarning, stacklevel=2)
        return None
    return module
