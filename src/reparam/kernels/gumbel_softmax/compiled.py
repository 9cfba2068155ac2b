"""softmax((logits + G) / tau) on the CPU, compiled by numba: the `[fast]` extra.

The plain formula is `soft_argmax(logits + Noise(key=...).gumbel(...), tau)`, with the same bits for
the same key. One pass over the logits draws the sample, one over y pulls a gradient back.
"""

from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reparam.kernels.gumbel_softmax.loops import WIDE, pull_back, sample_narrow, sample_wide
from reparam.noise import Noise, column_bits

CHUNK = 2**18  # elements of one call; strided tensors are copied by as many


def gumbel_softmax(logits: Tensor, tau: float, hard: bool, noise: Noise, n: int = 1) -> Tensor:
    """Samples `(n, *batch, K)` of float32 logits `(*batch, K)`; differentiable, twice."""
    shape = (n, *logits.shape)
    # An expansion's derivative is a sum, which copies even where there is nothing to add.
    rows = (logits if n == 1 else logits.expand(shape)).reshape(-1, shape[-1])
    streams = noise.streams(n, logits)
    y, hot = _GumbelSoftmax.apply(rows, tau, hard, streams)  # type: ignore[no-untyped-call]
    points: Tensor = hot if hard else y
    return points.view(shape)


class _GumbelSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, tau: float, hard: bool, streams: tuple[Tensor, int]
    ) -> tuple[Tensor, Tensor]:
        rows, classes = x.shape
        y, hot = x.new_empty(rows, classes), x.new_empty(rows if hard else 0, classes)
        starts, each = streams[0].numpy(), streams[1]
        sample = sample_narrow if classes < WIDE else sample_wide
        logits, points, marks = (t.detach().numpy() for t in (x, y, hot))
        for part in _parts(rows, classes):
            place = part.start, starts, each, column_bits(classes)
            sample(np.ascontiguousarray(logits[part]), tau, place, points[part], marks[part])
        # y is an output beside the one-hot, so that second derivatives find where it came from.
        ctx.save_for_backward(y)
        ctx.tau = tau
        ctx.set_materialize_grads(False)
        return y, hot

    @staticmethod
    def backward(
        ctx: Any, to_y: Tensor | None, to_hot: Tensor | None
    ) -> tuple[Tensor, None, None, None]:
        (y,) = ctx.saved_tensors
        grad = reduce(torch.add, [g for g in (to_y, to_hot) if g is not None])
        if torch.is_grad_enabled():  # a second derivative is wanted: the formula, differentiable
            out = y * (grad - (grad * y).sum(-1, keepdim=True)) / ctx.tau
        else:
            out = torch.empty_like(y)
            arriving, points, leaving = (t.detach().numpy() for t in (grad, y, out))
            for part in _parts(*y.shape):
                pull_back(
                    np.ascontiguousarray(arriving[part]), points[part], ctx.tau, leaving[part]
                )
        return out, None, None, None


def _parts(rows: int, classes: int) -> list[slice]:
    """Slices of rows with about CHUNK elements."""
    step = max(1, CHUNK // classes)
    return [slice(first, first + step) for first in range(0, rows, step)]
