"""softmax((logits + G) / tau) on the CPU, in place, in chunks that stay in the cache.

The plain formula is `soft_argmax(logits + noise.gumbel(...), tau)`. It spends most of its time in
`exponential_`, which draws one value after the other, and in fresh tensors for every step. Here
noise comes from raw 31-bit integers, every step works in the output, and only y is saved.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from reparam.checks import no_autocast
from reparam.kernels.exponentials import Source, exponentials
from reparam.noise import Noise

CHUNK = 65_536
SAFE = 80.0  # exp of it, and sums of such, are finite in float32; so are their reciprocals
SMALL = 32  # classes below which torch's softmax and sums are slower than a product with ones


def gumbel_softmax(logits: Tensor, tau: float, hard: bool, noise: Noise, n: int = 1) -> Tensor:
    """Samples `(n, *batch, K)` of float32 logits `(*batch, K)`; differentiable, twice."""
    shape = (n, *logits.shape)
    rows = (logits if n == 1 else logits.expand(shape)).reshape(-1, shape[-1])
    source = noise.generator if noise.key is None else noise.streams(n, logits)
    y: Tensor = _GumbelSoftmax.apply(rows, tau, hard, source)  # type: ignore[no-untyped-call]
    return y.view(shape)


class _GumbelSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, tau: float, hard: bool, source: Source) -> Tensor:
        y = torch.empty_like(logits)
        points = torch.empty_like(y) if hard else y
        draw = exponentials(y, source)
        with no_autocast(y):
            for x, soft, out in _chunks(logits, y, points):
                torch.sub(x, draw(soft).log_(), out=soft)
                if hard:  # before a large tau makes equals of all
                    _onehot(soft, out)
                _softmax_(soft, tau)
        ctx.save_for_backward(y)
        ctx.tau = tau
        return points

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: the formula, differentiable
            return y * (grad - (grad * y).sum(-1, keepdim=True)) / ctx.tau, None, None, None
        out = torch.empty_like(y)
        with no_autocast(y):
            for g, p, o in _chunks(grad, y, out):
                torch.mul(g, p, out=o)
                o.addcmul_(p, _row_sums(o), value=-1).div_(ctx.tau)
        return out, None, None, None


def _chunks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    rows = max(1, CHUNK // tensors[0].shape[-1])
    return zip(*(torch.split(t, rows) for t in tensors), strict=True)


def _onehot(z: Tensor, out: Tensor) -> None:
    torch.ge(z, _row_max(z), out=out)
    if int(out.sum()) != len(out):  # equals among the largest: the first one wins
        out.zero_().scatter_(-1, z.argmax(-1, keepdim=True), 1.0)


def _softmax_(z: Tensor, tau: float) -> None:
    """softmax(z / tau) in place, of z whose quotients by tau are finite."""
    if z.shape[-1] >= SMALL:
        torch.softmax(z.div_(tau), -1, out=z)
        return
    low, high = torch.aminmax(z)
    if max(-float(low), float(high)) > SAFE * tau:  # else exponentials keep within bounds
        z.sub_(_row_max(z))
    z.div_(tau).exp_()
    z.div_(_row_sums(z))


def _row_max(x: Tensor) -> Tensor:
    few = 4 < x.shape[-1] < SMALL  # where torch is faster along with the indices than without
    return x.max(-1, keepdim=True).values if few else x.amax(-1, keepdim=True)


def _row_sums(x: Tensor) -> Tensor:
    if x.shape[-1] < 4096:
        return x @ x.new_ones(x.shape[-1], 1)
    return x.sum(-1, keepdim=True)
