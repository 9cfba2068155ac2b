"""softmax((logits + G) / tau) on the CPU, compiled by numba: the `[fast]` extra.

The plain formula is `soft_argmax(logits + Noise(key=...).gumbel(...), tau)`, with the same bits for
the same key. One pass over the logits draws the sample, one over y pulls a gradient back.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from reparam.kernels.gumbel_softmax.loops import WIDE, pull_back, sample_narrow, sample_wide
from reparam.kernels.gumbel_softmax.pullback import arriving, pullback
from reparam.noise import Noise, column_bits

CHUNK = 2**18  # elements of one call; strided tensors are copied by as many


def gumbel_softmax(logits: Tensor, tau: float, hard: bool, noise: Noise, n: int = 1) -> Tensor:
    """Samples `(n, *batch, K)` of single or half precision logits `(*batch, K)`, of their dtype.

    Differentiable, twice.
    """
    shape = (n, *logits.shape)
    # An expansion's derivative is a sum, which copies even where there is nothing to add.
    rows = (logits if n == 1 else logits.expand(shape)).reshape(-1, shape[-1])
    streams = noise.streams(n, logits)
    y, apart = _GumbelSoftmax.apply(rows, tau, hard, streams)  # type: ignore[no-untyped-call]
    points: Tensor = apart if hard or logits.dtype != y.dtype else y
    return points.view(shape)


class _GumbelSoftmax(torch.autograd.Function):
    """y in float32, and apart from it the points, where they are hard or of half precision."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, tau: float, hard: bool, streams: tuple[Tensor, int]
    ) -> tuple[Tensor, Tensor]:
        rows, classes = x.shape
        y = x.new_empty(rows, classes, dtype=torch.float32)
        single = x.dtype == y.dtype
        points = x.new_empty(rows if hard or not single else 0, classes)
        starts, each = streams[0].numpy(), streams[1]
        sample = sample_narrow if classes < WIDE else sample_wide
        for first, (logits, soft, out) in _parts(x, y, points):
            place = first, starts, each, column_bits(classes)
            hot = out if single else y.new_empty(len(soft) if hard else 0, classes)
            sample(_array(logits), tau, place, soft.numpy(), hot.numpy())
            if not single:
                out.copy_(hot if hard else soft)
        # y is an output beside the points, so that second derivatives find where it came from.
        ctx.save_for_backward(y)
        ctx.tau, ctx.dtype = tau, x.dtype
        ctx.set_materialize_grads(False)
        return y, points

    @staticmethod
    def backward(
        ctx: Any, to_y: Tensor | None, to_points: Tensor | None
    ) -> tuple[Tensor, None, None, None]:
        (y,) = ctx.saved_tensors
        grad = arriving(to_y, to_points)
        if torch.is_grad_enabled():  # a second derivative is wanted: the formula, differentiable
            return pullback(y, grad, ctx.tau).to(ctx.dtype), None, None, None
        out = torch.empty_like(y, dtype=ctx.dtype)
        for _, (g, p, o) in _parts(grad, y, out):
            wide = o if o.dtype == p.dtype else torch.empty_like(p)
            pull_back(_array(g), p.detach().numpy(), ctx.tau, wide.numpy())
            if wide is not o:
                o.copy_(wide)
        return out, None, None, None


def _array(x: Tensor) -> Any:
    """The same in float32 and in rows, as numpy has it."""
    return x.detach().float().contiguous().numpy()


def _parts(*tensors: Tensor) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
    """The first row and the rows of parts with about CHUNK elements; small tensors whole."""
    rows, classes = tensors[0].shape
    if rows * classes <= CHUNK:
        yield 0, tensors
        return
    step = max(1, CHUNK // classes)
    for first in range(0, rows, step):
        yield first, tuple(t[first : first + step] for t in tensors)
