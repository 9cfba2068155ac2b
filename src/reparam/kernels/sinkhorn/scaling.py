"""Sinkhorn and Knopp's own form: P = diag(u) K diag(v), K = exp(M), by products with vectors.

u = 1 / (K v), v = 1 / (K' u), starting from v = 1. A half-iteration costs n^2 multiplications and
no exponential.
"""

from math import exp
from types import ModuleType

import torch
from torch import Tensor

from reparam import fast
from reparam.kernels.sinkhorn.products import products

COMPILED = "reparam.kernels.sinkhorn.compiled"
REACH = {torch.float32: 20.0, torch.float64: 350.0}
"""How far below 0 the logarithms of K may lie, and how far from 0 those of u and v.

Sums over n of the products of any two then neither overflow nor lose a term to underflow; and in
float32, an error of eps in the logarithms, relative to them, is one of 2e-6 in P at most.
"""

ROUNDING = {dtype: 3 * torch.finfo(dtype).eps for dtype in REACH}
"""Residuals at which a further iteration changes nothing but the rounding: that of sums over n."""

LARGE = 100_000  # elements, from which on looking at the residual costs next to nothing


def iterate(m: Tensor, n_iters: int, tol: float) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """K, the u `(B, T, n)` and v `(B, T + 1, n)` of T <= n_iters iterations, and P; or None.

    m: logarithms of base 2 `(B, n, n)`, maximum 0 in each row, and -inf or at least -REACH in base
    e; overwritten by K. None: the factors grew out of reach.
    """
    k = m.exp2_().contiguous()  # four times as fast as exp
    us, vs, balanced = _compiled_or_not(k, n_iters, tol)
    return (k, us, vs, balanced) if _within_reach(us) and _within_reach(vs) else None


def _compiled_or_not(k: Tensor, n_iters: int, tol: float) -> tuple[Tensor, Tensor, Tensor]:
    # Compiled loops take one matrix after the other: they cannot stop when the worst has converged.
    if tol == 0 and (kernel := _compiled(k)) is not None:
        us, vs, balanced = kernel.iterate(k, n_iters, ROUNDING[k.dtype])
        return us, vs, balanced
    if tol == 0 and k.numel() >= LARGE:
        tol = ROUNDING[k.dtype]
    return _iterated(k, n_iters, tol)


def _compiled(k: Tensor) -> ModuleType | None:
    return fast.kernel(COMPILED) if k.device.type == "cpu" else None


def _iterated(k: Tensor, n_iters: int, tol: float) -> tuple[Tensor, Tensor, Tensor]:
    form = products(k)
    u: list[Tensor] = []
    v = [form.ones()]
    for _ in range(n_iters):
        sums = form.along_rows(v[-1])
        if u and tol > 0 and _farthest_from_one(sums * u[-1]) <= tol:
            break
        u.append(sums.reciprocal_())
        v.append(form.along_columns(u[-1]).reciprocal_())
    us, vs = form.joined_u(u), form.joined_v(v)
    return us, vs, (k * us[:, -1].unsqueeze(-1)).mul_(vs[:, -1].unsqueeze(-2))


def pullback(k: Tensor, u: Tensor, v: Tensor, grad: Tensor) -> Tensor:
    """The gradient with respect to m, of grad with respect to P: the iteration, run backward.

    With s = K v and u = 1 / s, a gradient g of u is one of -u^2 g for s, which adds its outer
    product with v to that of K, and K' (-u^2 g) to that of v. The outer products are summed last.
    """
    if (kernel := _compiled(k)) is not None:
        pulled: Tensor = kernel.pullback(k, u, v, grad)
        return pulled
    form = products(k)
    direct = (grad * k).mul_(u[:, -1].unsqueeze(-1)).mul_(v[:, -1].unsqueeze(-2))
    weight_u, weight_v = form.parted_u((u * u).neg_()), form.parted_v((v * v).neg_())
    (last_u,), (last_v,) = form.parted_u(u[:, -1:]), form.parted_v(v[:, -1:])
    (rows,) = form.parted_u(direct.sum(-1).unsqueeze(1))
    (columns,) = form.parted_v(direct.sum(-2).unsqueeze(1))
    by_v = [-last_v * columns]
    by_u = [(form.along_rows(by_v[0]) * last_u).add_(rows).mul_(-last_u)]
    for wu, wv in zip(weight_u[-2::-1], weight_v[-2:0:-1], strict=True):
        by_v.append(form.along_columns(by_u[-1]).mul_(wv))
        by_u.append(form.along_rows(by_v[-1]).mul_(wu))
    grad_k = torch.bmm(u.mT, form.joined_v(by_v[::-1]))
    grad_k.baddbmm_(form.joined_u(by_u[::-1]).mT, v[:, :-1])
    return grad_k.mul_(k).add_(direct)


def _farthest_from_one(x: Tensor) -> float:
    low, high = torch.aminmax(x)
    return max(1 - float(low), float(high) - 1)


def _within_reach(factors: Tensor) -> bool:
    low, high = torch.aminmax(factors)
    reach = exp(REACH[factors.dtype])
    return float(low) * reach >= 1 and float(high) <= reach
