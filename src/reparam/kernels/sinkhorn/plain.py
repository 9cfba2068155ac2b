"""The definition, which autograd, `torch.func` and `torch.compile` can follow, in float64."""

import torch
from torch import Tensor


def sinkhorn(x: Tensor, tau: Tensor, n_iters: int) -> Tensor:
    """x `(*batch, n, n)`, tau `(*batch, 1, 1)` -> balanced matrices, in float64.

    Entries of exp(x / tau) between which lie many powers of e need more digits than float32 has,
    and a graph cannot look whether they do.
    """
    x, tau = x.double(), tau.double()
    forbidden = x == -torch.inf
    drop = (x - x.detach().amax(-1, keepdim=True)).masked_fill(forbidden, 0)
    # Filled once more after the division, -inf leaves no NaN in the gradient of tau.
    log_p = (drop / tau).masked_fill(forbidden, -torch.inf)
    for _ in range(n_iters):
        log_p = torch.log_softmax(torch.log_softmax(log_p, -1), -2)
    return log_p.exp()
