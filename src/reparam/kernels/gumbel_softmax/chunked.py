"""softmax((logits + G) / tau) on the CPU, in place, in chunks that stay in the cache.

The plain formula is `soft_argmax(logits + noise.gumbel(...), tau)`. It spends most of its time in
`exponential_`, which draws one value after the other, and in fresh tensors for every step. Here
noise comes from raw 31-bit integers, every step works in the output, and only y is saved.
"""

from typing import Any

import torch
from torch import Tensor

from reparam.checks import no_autocast
from reparam.kernels.exponentials import Source, exponentials
from reparam.noise import Noise

CHUNK = 32_768
SMALL = 32  # classes below which torch's softmax and sums are slower than a product with ones


def gumbel_softmax(logits: Tensor, tau: float, hard: bool, noise: Noise, n: int = 1) -> Tensor:
    """Samples `(n, *batch, K)` of float32 logits `(*batch, K)`; differentiable, twice."""
    shape = (n, *logits.shape)
    rows = logits.expand(shape).reshape(-1, shape[-1])
    source = noise.generator if noise.key is None else noise.streams(n, logits)
    y: Tensor = _GumbelSoftmax.apply(rows, tau, source)  # type: ignore[no-untyped-call]
    if hard:
        y = _HardForward.apply(y)  # type: ignore[no-untyped-call]
    return y.view(shape)


class _GumbelSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, tau: float, source: Source) -> Tensor:
        y = torch.empty_like(logits)
        parts = [torch.split(t, max(1, CHUNK // y.shape[-1])) for t in (logits, y)]
        with no_autocast(y):
            draw = exponentials(y, source)
            for x, out in zip(*parts, strict=True):
                draw(out)
                torch.sub(x, out.log_(), out=out)
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
        parts = [torch.split(t, max(1, CHUNK // y.shape[-1])) for t in (grad, y, out)]
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
