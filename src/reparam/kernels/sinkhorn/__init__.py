"""Alternating row and column normalization of exp(log_alpha / tau), with its exact derivatives.

The plain formula normalizes the logarithms of all n^2 entries twice per iteration, and autograd
keeps each result. But every iterate is `exp(M + f[:, None] + g)`, M = log_alpha / tau, for some
vectors f and g: these are all that is iterated here, and all that is saved.
"""

from math import log
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from reparam.checks import no_autocast
from reparam.kernels.sinkhorn import logarithmic, scaling
from reparam.kernels.sinkhorn.plain import sinkhorn as plain

__all__ = ["plain", "sinkhorn"]


def sinkhorn(x: Tensor, tau: Tensor, n_iters: int, tol: float) -> tuple[Tensor, Tensor]:
    """Balanced matrices `(B, n, n)` of x, and the largest |row sum - 1| `(B,)` of each.

    x: `(B, n, n)` in float32 or float64, not empty. tau: `(B, 1, 1)`, positive. The matrices are
    differentiable, twice, in both.
    """
    pair: tuple[Tensor, Tensor] = _Sinkhorn.apply(x, tau, n_iters, tol)  # type: ignore[no-untyped-call]
    return pair


class _Sinkhorn(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, tau: Tensor, n_iters: int, tol: float
    ) -> tuple[Tensor, Tensor]:
        with no_autocast(x):
            ctx.form, *kept, balanced = _iterate(x, tau, n_iters, tol)
        ctx.save_for_backward(x, tau, *kept)
        residual = (balanced.sum(-1) - 1).abs_().amax(-1).to(x.dtype)
        ctx.mark_non_differentiable(residual)
        return balanced.to(x.dtype), residual

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        x, tau, m, u, v = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: the formula, differentiable
            return *_differentiable_pullback(ctx, x, tau, u.shape[1], grad), None, None
        divisor = tau.to(u.dtype)
        with no_autocast(x):
            grad_x = ctx.form.pullback(m, u, v, grad.to(u.dtype)).div_(divisor)
        grad_tau = None
        if ctx.needs_input_grad[1]:
            # The shift by the row maxima has no part in it: the rows of the gradient sum to 0.
            drop = _drop(x.to(u.dtype)).masked_fill_(x == -torch.inf, 0)
            grad_tau = -(drop.div_(divisor) * grad_x).sum((-2, -1), keepdim=True).to(x.dtype)
        return grad_x.to(x.dtype), grad_tau, None, None


def _iterate(
    x: Tensor, tau: Tensor, n_iters: int, tol: float
) -> tuple[ModuleType, Tensor, Tensor, Tensor, Tensor]:
    """The cheapest form that is exact for the range of x / tau, with what it returns."""
    # Where the user lets products run in TF32 or bfloat16, those of float64 keep their precision.
    single = x.dtype == torch.float32 and torch.get_float32_matmul_precision() == "highest"
    for dtype in [torch.float32, torch.float64] if single else [torch.float64]:
        drop, divisor = _drop(x.to(dtype)), tau.to(dtype)
        lowest = _lowest(drop) / divisor
        if float(lowest.min()) >= -scaling.REACH[dtype]:
            result = scaling.iterate(drop.div_(divisor * log(2)), n_iters, tol)
            if result is not None:
                return scaling, *result
    m = _drop(x.double()).div_(tau.double())
    return logarithmic, *logarithmic.iterate(m, n_iters, tol)


def _drop(x: Tensor) -> Tensor:
    """How far entries lie below their row's maximum, in fresh memory."""
    return x - x.amax(-1, keepdim=True)


def _lowest(drop: Tensor) -> Tensor:
    """The lowest allowed entry of each matrix, `(B, 1, 1)`."""
    lowest = drop.amin((-2, -1), keepdim=True)
    if bool((lowest > -torch.inf).all()):
        return lowest
    return drop.masked_fill(drop == -torch.inf, 0).amin((-2, -1), keepdim=True)


def _differentiable_pullback(
    ctx: Any, x: Tensor, tau: Tensor, n_iters: int, grad: Tensor
) -> list[Tensor | None]:
    wanted = [t for t, need in zip((x, tau), ctx.needs_input_grad, strict=False) if need]
    balanced = plain(x, tau, n_iters).to(x.dtype)
    grads = iter(torch.autograd.grad(balanced, wanted, grad, create_graph=True))
    return [next(grads) if need else None for need in ctx.needs_input_grad[:2]]
