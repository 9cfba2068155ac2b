"""softmax((logits + G) / tau) on the CPU, compiled by numba: the `[fast]` extra.

The plain formula is `soft_argmax(logits + Noise(key=...).gumbel(...), tau)`, with the same bits for
the same key. One pass over the logits draws the sample, one over y pulls a gradient back.
"""

from typing import Any

import torch
from torch import Tensor

from reparam.kernels.gumbel_softmax.chunks import chunks
from reparam.kernels.gumbel_softmax.loops import WIDE, pull_back, sample_narrow, sample_wide
from reparam.kernels.gumbel_softmax.pullback import arriving, pullback
from reparam.noise import Noise, column_bits


def gumbel_softmax(
    logits: Tensor, tau: float, hard: bool, noise: Noise, n: int | None = None
) -> Tensor:
    """See `reparam.kernels.gumbel_softmax`."""
    streams = noise.streams(n or 1, logits)
    expanded = logits if n is None else logits.expand(n, *logits.shape)
    y, apart = _GumbelSoftmax.apply(expanded, tau, hard, streams)  # type: ignore[no-untyped-call]
    points: Tensor = y if apart is None else apart
    return points


class _GumbelSoftmax(torch.autograd.Function):
    """y in float32, and apart from it the points, where they are hard or of half precision."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, tau: float, hard: bool, streams: tuple[Tensor, int]
    ) -> tuple[Tensor, Tensor | None]:
        classes = x.shape[-1]
        y = torch.empty_like(x, dtype=torch.float32, memory_format=torch.contiguous_format)
        single = x.dtype == y.dtype
        points = torch.empty_like(y, dtype=x.dtype) if hard or not single else y
        starts, each = streams[0].numpy(), streams[1]
        sample = sample_narrow if classes < WIDE else sample_wide
        for first, (logits, soft, out) in chunks(x, y, points):
            place = first, starts, each, column_bits(classes)
            hot = soft[:0] if not hard else out if single else torch.empty_like(soft)
            sample(_array(logits), tau, place, soft.numpy(), hot.numpy())
            if not single:
                out.copy_(hot if hard else soft)
        # y is an output beside the points, so that second derivatives find where it came from.
        ctx.save_for_backward(y)
        ctx.tau, ctx.dtype = tau, x.dtype
        ctx.set_materialize_grads(False)
        return y, None if points is y else points

    @staticmethod
    def backward(
        ctx: Any, to_y: Tensor | None, to_points: Tensor | None
    ) -> tuple[Tensor, None, None, None]:
        (y,) = ctx.saved_tensors
        grad = arriving(to_y, to_points)
        if torch.is_grad_enabled():  # a second derivative is wanted: the formula, differentiable
            return pullback(y, grad, ctx.tau).to(ctx.dtype), None, None, None
        out = torch.empty_like(y, dtype=ctx.dtype)
        for _, (g, p, o) in chunks(grad, y, out):
            wide = o if o.dtype == p.dtype else torch.empty_like(p)
            pull_back(_array(g), p.detach().numpy(), ctx.tau, wide.numpy())
            if wide is not o:
                o.copy_(wide)
        return out, None, None, None


def _array(x: Tensor) -> Any:
    """The same in float32 and in rows, as numpy has it."""
    return x.detach().float().contiguous().numpy()
