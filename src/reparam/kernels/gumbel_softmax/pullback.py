"""What the gradients of all the kernels share."""

from functools import reduce

import torch
from torch import Tensor


def arriving(*gradients: Tensor | None) -> Tensor:
    """The sum of those that arrive, one at least; a copy is made only of several."""
    return reduce(torch.add, [gradient for gradient in gradients if gradient is not None])


def pullback(y: Tensor, grad: Tensor, tau: float) -> Tensor:
    """The gradient in z of grad in y = softmax(z / tau), all `(..., K)`; differentiable."""
    return y * (grad - (grad * y).sum(-1, keepdim=True)) / tau
