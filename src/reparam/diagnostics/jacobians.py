"""Which softmax a Jacobian belongs to: it tells what a sampler differentiates.

That of y = softmax(x / tau) is (diag(y) - y y^T) / tau. Its entries beside the diagonal are
products of two entries of y, so that they give both y and a factor, should there be one.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


def jacobian(function: Callable[[Tensor], Tensor], row: Tensor) -> tuple[Tensor | None, Tensor]:
    """d function(row) / d row `(K, K)`, None if nothing connects them; and the value `(K,)`.

    function: of a batch `(1, K)`.
    """
    rows = row.detach().unsqueeze(0).requires_grad_()
    value = function(rows)[0]
    if not value.requires_grad:
        return None, value
    pulled = [
        torch.autograd.grad(
            entry, rows, retain_graph=True, allow_unused=True, materialize_grads=True
        )[0][0]
        for entry in value
    ]
    return torch.stack(pulled), value.detach()


class Softmax(NamedTuple):
    """What a Jacobian looks like: scale (diag(y) - y y^T), with a cosine of 1 if it is that."""

    y: Tensor
    scale: float
    cosine: float


def softmax_of(jacobian: Tensor) -> Softmax:
    """The softmax `(K,)` whose Jacobian is `(K, K)` up to a factor, K >= 3.

    log |J_ij| = log scale + log y_i + log y_j beside the diagonal, solved by least squares.
    """
    k = len(jacobian)
    beside = jacobian.double().masked_fill(torch.eye(k, dtype=torch.bool), 0)
    sign = -beside.sum().sign().item()
    logs = beside.abs().clamp(min=1e-300).log().fill_diagonal_(0).sum(1)
    u = (logs - logs.sum() / (2 * k - 2)) / (k - 2)
    y = torch.softmax(u, 0)
    model = torch.diag(y) - torch.outer(y, y)
    scale = sign * torch.logsumexp(u, 0).mul(2).exp().item()
    found = sign * model
    return Softmax(
        y, scale, torch.cosine_similarity(jacobian.double().flatten(), found.flatten(), 0).item()
    )
