"""softmax((logits + G) / tau) on the GPU: one kernel forward, one backward, noise in registers.

The plain formula is `soft_argmax(logits + Noise(key=...).gumbel(...), tau)`, and the noise is the
same: made of a counter, a key gives the same samples on every device and in every kernel. Saved are
the logits and the streams; the backward pass makes the noise again, where reading it would cost
more than its arithmetic. Short rows are taken many at a time, as tiles that stay in registers; long
ones in two passes, one for the largest entry and the sum and one that writes.

Logits may be of half precision: they are read and written as such, and computed in float32.
"""

import math
from typing import Any

import torch
import triton
from torch import Tensor

from reparam.kernels.gumbel_softmax.cuda_kernels import (
    row_backward,
    row_forward,
    tile_backward,
    tile_forward,
)
from reparam.kernels.gumbel_softmax.pullback import pullback
from reparam.noise import Noise, bits, column_bits

SMALLEST = 2**20  # elements, below which starting the kernels costs more than traffic saved
FEWEST = 64  # rows of more than LONGEST columns, below which most of a GPU would idle
TILE = 1024  # elements of a tile, at the least
LONGEST = 16_384  # columns of a row that stays in registers
STEP = 4096  # columns of a tile that steps along a longer row
LEAST_RATE = 1e-37  # of 1 / tau, so that float32 keeps its product with -inf


Streams = tuple[Tensor, int]
"""What `Noise.streams` gives: starts `(M,)`, and the number of rows for each."""


def serves(logits: Tensor) -> bool:
    """Whether the kernels are faster than the plain formula, for the size."""
    wide = logits.shape[-1] > LONGEST
    return logits.numel() >= max(SMALLEST, wide * FEWEST * logits.shape[-1])


def gumbel_softmax(
    logits: Tensor, tau: float, hard: bool, noise: Noise, n: int | None = None
) -> Tensor:
    """See `reparam.kernels.gumbel_softmax`."""
    rows = logits.reshape(-1, logits.shape[-1]).contiguous()
    draws = n or 1
    streams = noise.streams(draws, logits)
    y: Tensor = _GumbelSoftmax.apply(rows, tau, hard, streams, draws)  # type: ignore[no-untyped-call]
    return y.view(logits.shape if n is None else (n, *logits.shape))


class _GumbelSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, tau: float, hard: bool, streams: Streams, n: int
    ) -> Tensor:
        y = logits.new_empty(n, *logits.shape)
        starts, ctx.each = streams
        ctx.tau = tau
        if logits.shape[-1] <= LONGEST:
            saved: tuple[Tensor, ...] = logits, starts
            _launch(tile_forward, (logits, starts, y), ctx.each, tau, HARD=hard)
        else:
            tops, sums = logits.new_empty(2, n, len(logits), dtype=torch.float32)
            saved = logits, starts, tops, sums
            _launch(row_forward, (logits, starts, y, tops, sums), ctx.each, tau, HARD=hard)
        ctx.save_for_backward(*saved)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, starts, *tops_and_sums = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: the formula, differentiable
            g, y = grad.float(), _plain(logits, (starts, ctx.each), len(grad), ctx.tau)
            of_draws = pullback(y, g, ctx.tau)
        else:
            grad = grad.contiguous()
            of_draws = torch.empty_like(grad, dtype=torch.float32 if len(grad) > 1 else grad.dtype)
            kernel = row_backward if tops_and_sums else tile_backward
            _launch(kernel, (logits, starts, of_draws, *tops_and_sums, grad), ctx.each, ctx.tau)
        total = of_draws.sum(0) if len(grad) > 1 else of_draws[0]
        return total.to(logits.dtype), None, None, None, None


def _plain(logits: Tensor, streams: Streams, n: int, tau: float) -> Tensor:
    """The soft samples `(n, rows, K)` of the same noise in float32, differentiable."""
    integers = bits(*streams, n, logits.shape[-1]).view(n, *logits.shape)
    u = ((integers.double() + 0.5) * 2.0**-52).float().clamp(max=1 - 2.0**-24)
    return torch.softmax((logits.float() - (-torch.log1p(-u)).log()) / tau, -1)


def _launch(
    kernel: Any, tensors: tuple[Tensor, ...], each: int, tau: float, **constants: bool
) -> None:
    """Run a kernel on tensors that begin with logits `(rows, K)`, starts, output `(n, rows, K)`."""
    logits, starts, out = tensors[:3]
    rows, columns = logits.shape
    long = columns > LONGEST
    width = STEP if long else triton.next_power_of_2(columns)
    height = 1 if long else max(1, TILE // width)
    blocks = triton.cdiv(rows, height)
    vector = math.gcd(columns, 16 // logits.element_size())
    with torch.cuda.device_of(logits):  # type: ignore[no-untyped-call]
        kernel[(blocks * len(out),)](
            *tensors,
            *(blocks, rows, columns // vector, each, column_bits(columns)),
            max(1 / tau, LEAST_RATE),
            **constants,
            HEIGHT=height,
            WIDTH=width,
            VECTOR=vector,
            ONE_KEY=len(starts) == 1,
            num_warps=16 if long else min(16, max(4, width // 512)),
            enable_fp_fusion=True,
        )
