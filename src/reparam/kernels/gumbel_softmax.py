"""softmax((logits + G) / tau) on the CPU, in place, in chunks that stay in the cache.

The plain formula is `soft_argmax(logits + noise.gumbel(...), tau)`. It spends most of its time in
`exponential_`, which draws one value after the other, and in fresh tensors for every step. Here
noise comes from raw 31-bit integers, every step works in the output, and only y is saved.
"""

from typing import Any

import torch
from torch import Tensor

from reparam.checks import no_autocast

CHUNK = 32_768
LARGEST = 1 - 2.0**-24  # below 1 in float32: the exponential of a uniform stays finite
SMALL = 32  # classes below which torch's softmax and sums are slower than a product with ones


def gumbel_softmax(logits: Tensor, tau: float, generator: torch.Generator | None) -> Tensor:
    """Soft samples of float32 logits `(N, K)`; differentiable, twice."""
    y: Tensor = _GumbelSoftmax.apply(logits.contiguous(), tau, generator)  # type: ignore[no-untyped-call]
    return y


def hard_forward(y: Tensor) -> Tensor:
    """The one-hot of the largest entry in each row `(N, K)`, with y's gradient."""
    hard: Tensor = _HardForward.apply(y)  # type: ignore[no-untyped-call]
    return hard


class _GumbelSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, tau: float, generator: torch.Generator | None) -> Tensor:
        y = torch.empty_like(logits)
        rows = max(1, CHUNK // logits.shape[-1])
        bits = torch.empty(min(rows, len(y)) * y.shape[-1], dtype=torch.int32)
        with no_autocast(y):
            for x, out in zip(torch.split(logits, rows), torch.split(y, rows), strict=True):
                _log_exponential_(out, bits[: out.numel()].view(out.shape), generator)
                torch.sub(x, out, out=out)
                _softmax_(out, tau)
        ctx.save_for_backward(y)
        ctx.tau = tau
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (y,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: the formula, differentiable
            return y * (grad - (grad * y).sum(-1, keepdim=True)) / ctx.tau, None, None
        out = torch.empty_like(y)
        rows = max(1, CHUNK // y.shape[-1])
        parts = (torch.split(t, rows) for t in (grad, y, out))
        with no_autocast(y):
            for g, p, o in zip(*parts, strict=True):
                torch.mul(g, p, out=o)
                o.addcmul_(p, _row_sums(o), value=-1).div_(ctx.tau)
        return out, None, None


class _HardForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        hard = torch.empty_like(y)
        rows = max(1, CHUNK // y.shape[-1])
        for p, out in zip(torch.split(y, rows), torch.split(hard, rows), strict=True):
            torch.eq(p, p.amax(-1, keepdim=True), out=out)
            if int(out.sum()) != len(out):  # equals among the largest: the first one wins
                out.zero_().scatter_(-1, p.argmax(-1, keepdim=True), 1.0)
        return hard

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


def _log_exponential_(out: Tensor, bits: Tensor, generator: torch.Generator | None) -> None:
    """Fill with log(-log1p(-u)), minus a Gumbel value, u the midpoints of 2^31 bins.

    u keeps its relative precision near 0, where the exponential is small and the Gumbel wins: its
    tail reaches 22; both ends are finite.
    """
    torch.mul(bits.random_(generator=generator), -(2.0**-31), out=out)
    out.sub_(2.0**-32).clamp_(min=-LARGEST).log1p_().neg_().log_()


def _softmax_(z: Tensor, tau: float) -> None:
    """softmax(z / tau) in place, of z whose quotients by tau are finite."""
    if z.shape[-1] < SMALL:
        z.sub_(z.amax(-1, keepdim=True)).div_(tau).exp_()
        z.div_(_row_sums(z))
    else:
        torch.softmax(z.div_(tau), -1, out=z)


def _row_sums(x: Tensor) -> Tensor:
    if x.shape[-1] < 4096:
        return x @ x.new_ones(x.shape[-1], 1)
    return x.sum(-1, keepdim=True)
