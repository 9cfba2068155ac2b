"""The iteration of `scaling` and its derivative, compiled by numba: the `[fast]` extra."""

import torch
from torch import Tensor

from reparam.kernels.sinkhorn import loops


def iterate(k: Tensor, n_iters: int, tol: float) -> tuple[Tensor, Tensor, Tensor]:
    """The u `(B, T, n)`, v `(B, T + 1, n)` and P of K `(B, n, n)`, as in `scaling.iterate`.

    T is n_iters: a matrix that has converged, whatever the others do, repeats its u and v.
    """
    matrices, _, size = k.shape
    u, v = k.new_empty(matrices, n_iters, size), k.new_empty(matrices, n_iters + 1, size)
    balanced = torch.empty_like(k)
    loops.iterate(k.numpy(), u.numpy(), v.numpy(), balanced.numpy(), tol)
    return u, v, balanced


def pullback(k: Tensor, u: Tensor, v: Tensor, grad: Tensor) -> Tensor:
    """The gradient with respect to log K of grad with respect to P, as `scaling.pullback`'s."""
    out, room = torch.empty_like(k), k.new_empty(len(k), 2, k.shape[-1])
    loops.pull_back(*(t.numpy() for t in (k, u, v, grad.contiguous(), room, out)))
    return out
