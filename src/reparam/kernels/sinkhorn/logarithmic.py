"""The form for every range: P = exp(M + f[:, None] + g), by log-sum-exp over M and the potentials.

f = -logsumexp(M + g) over rows, g = -logsumexp(M + f[:, None]) over columns, starting from g = 0.
"""

import torch
from torch import Tensor


def iterate(m: Tensor, n_iters: int, tol: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """M `(B, n, n)`, f `(B, T, n)` and g `(B, T + 1, n)` of T <= n_iters iterations, and P."""
    f: list[Tensor] = []
    g = [m.new_zeros(len(m), m.shape[-1])]
    z = torch.empty_like(m)
    for _ in range(n_iters):
        log_sums = torch.logsumexp(torch.add(m, g[-1].unsqueeze(-2), out=z), -1)
        if f and tol > 0 and float((log_sums + f[-1]).expm1_().abs_().max()) <= tol:
            break
        f.append(log_sums.neg_())
        g.append(torch.logsumexp(torch.add(m, f[-1].unsqueeze(-1), out=z), -2).neg_())
    return m, torch.stack(f, 1), torch.stack(g, 1), _columns(m, f[-1], z)


def pullback(m: Tensor, f: Tensor, g: Tensor, grad: Tensor) -> Tensor:
    """The gradient with respect to m, of grad with respect to P: the iteration, run backward."""
    z = torch.empty_like(m)
    total = grad * _columns(m, f[:, -1], z)
    # What reaches f and g of the step at hand; P is a function of the last f, and of no other.
    grad_f = total.sum(-1, keepdim=True)
    grad_g = total.sum(-2, keepdim=True)
    for t in reversed(range(f.shape[1])):
        share = _columns(m, f[:, t], z).mul_(grad_g)
        total -= share
        grad_f -= share.sum(-1, keepdim=True)
        share = _rows(m, g[:, t], z).mul_(grad_f)
        total -= share
        grad_g = share.sum(-2, keepdim=True).neg_()
        grad_f.zero_()
    return total


# A softmax in place of exp(M + f + g): however much of M + f is lost to rounding, it sums to 1.


def _rows(m: Tensor, g: Tensor, out: Tensor) -> Tensor:
    return torch.softmax(torch.add(m, g.unsqueeze(-2), out=out), -1, out=out)


def _columns(m: Tensor, f: Tensor, out: Tensor) -> Tensor:
    return torch.softmax(torch.add(m, f.unsqueeze(-1), out=out), -2, out=out)
