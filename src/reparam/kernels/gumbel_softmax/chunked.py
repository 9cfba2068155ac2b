"""softmax((logits + G) / tau) on the CPU, in place, in chunks that stay in the cache.

The plain formula is `soft_argmax(logits + noise.gumbel(...), tau)`. It spends most of its time in
`exponential_`, which draws one value after the other, and in fresh tensors for every step. Here
noise comes from raw 31-bit integers, every step works in the output, and only y is saved.
"""

from math import inf, log
from typing import Any

import torch
from torch import Tensor

from reparam.checks import no_autocast
from reparam.kernels.exponentials import Source, exponentials, largest_gumbel, source_of
from reparam.kernels.gumbel_softmax.chunks import chunks
from reparam.kernels.gumbel_softmax.pullback import arriving, pullback
from reparam.noise import Noise

SAFE = 100.0  # 2 to it, and sums of 2^20 such, are finite in float32; so are their reciprocals
SMALL = 32  # classes below which torch's reductions over rows are slower than other ways


def gumbel_softmax(
    logits: Tensor, tau: float, hard: bool, noise: Noise, n: int | None = None, *, size: float = inf
) -> Tensor:
    """See `reparam.kernels.gumbel_softmax`. size: a bound on the absolute values, if known."""
    source = source_of(noise, n or 1, logits)
    expanded = logits if n is None else logits.expand(n, *logits.shape)
    y, apart = _GumbelSoftmax.apply(expanded, tau, hard, source, size)  # type: ignore[no-untyped-call]
    points: Tensor = y if apart is None else apart
    return points


class _GumbelSoftmax(torch.autograd.Function):
    """y in float32, and apart from it the points, where they are hard or of half precision."""

    @staticmethod
    def forward(  # noqa: PLR0917 (`apply` knows no keywords)
        ctx: Any, logits: Tensor, tau: float, hard: bool, source: Source, size: float
    ) -> tuple[Tensor, Tensor | None]:
        y = torch.empty_like(logits, dtype=torch.float32, memory_format=torch.contiguous_format)
        single = logits.dtype == y.dtype
        points = torch.empty_like(y, dtype=logits.dtype) if hard or not single else y
        draw = exponentials(y, source)
        with no_autocast(y):
            for _, (x, soft, out) in chunks(logits, y, points):
                torch.sub(x, draw(soft).log_(), out=soft)
                if hard:  # before a large tau makes equals of all
                    _onehot(soft, out if single else torch.empty_like(soft), out)
                _softmax_(soft, tau, size + largest_gumbel(source))
                if not (hard or single):
                    out.copy_(soft)
        # y is an output beside the points, so that second derivatives find where it came from.
        ctx.save_for_backward(y)
        ctx.tau, ctx.dtype = tau, logits.dtype
        ctx.set_materialize_grads(False)
        return y, None if points is y else points

    @staticmethod
    def backward(
        ctx: Any, to_y: Tensor | None, to_points: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        grad = arriving(to_y, to_points)
        if torch.is_grad_enabled():  # a second derivative is wanted: the formula, differentiable
            return pullback(y, grad, ctx.tau).to(ctx.dtype), *[None] * 4
        out = torch.empty_like(y, dtype=ctx.dtype)
        with no_autocast(y):
            for _, (g, p, o) in chunks(grad, y, out):
                wide = o if o.dtype == p.dtype else torch.empty_like(p)
                _softmax_backward(g.to(p.dtype), p, wide).div_(ctx.tau)
                if wide is not o:
                    o.copy_(wide)
        return out, *[None] * 4


def _onehot(z: Tensor, room: Tensor, out: Tensor) -> None:
    """room: of the dtype of z, which may be out."""
    torch.ge(z, _row_max(z), out=room)
    if int(room.sum()) != len(room):  # equals among the largest: the first one wins
        room.zero_().scatter_(-1, z.argmax(-1, keepdim=True), 1.0)
    if room is not out:
        out.copy_(room)


def _softmax_(z: Tensor, tau: float, size: float) -> None:
    """softmax(z / tau) in place, of z up to +-size whose quotients by tau are finite."""
    scale = 1 / (tau * log(2))  # torch takes powers of 2 four times as fast as those of e
    if size * scale > SAFE:  # else powers keep within bounds
        z.sub_(_row_max(z))
    z.mul_(scale).exp2_()
    z.div_(_row_sums(z))


def _softmax_backward(grad: Tensor, y: Tensor, out: Tensor) -> Tensor:
    if y.shape[-1] >= SMALL:
        torch._softmax_backward_data(grad, y, -1, torch.float32, grad_input=out)  # noqa: SLF001
        return out
    torch.mul(grad, y, out=out)
    return out.addcmul_(y, _row_sums(out), value=-1)


def _row_max(x: Tensor) -> Tensor:
    classes = x.shape[-1]
    if classes < SMALL:
        return torch.max_pool1d(x.view(1, 1, -1), classes, classes).view(-1, 1)
    return x.amax(-1, keepdim=True)


def _row_sums(x: Tensor) -> Tensor:
    if x.shape[-1] < 4096:
        return x @ x.new_ones(x.shape[-1], 1)
    return x.sum(-1, keepdim=True)
