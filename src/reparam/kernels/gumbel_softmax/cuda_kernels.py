"""The Triton kernels of softmax((logits + G) / tau) and its gradient.

All take (blocks, rows, groups, each, bits, rate) behind their tensors, and the constants in
capitals. A row has K = groups * VECTOR columns, which tells the compiler that it may read VECTOR of
them at once, without a kernel for every K. `rate` is 1 / tau.

Tiles of HEIGHT rows hold all K columns in registers; the kernels for rows step along them by WIDTH,
twice. What is saved between them and their backward is each row's largest entry and its sum.
"""

import triton
import triton.language as tl

# SplitMix64's constants, as in `reparam.noise`.
_GOLDEN = tl.constexpr(0x9E3779B97F4A7C15)
_FIRST = tl.constexpr(0xBF58476D1CE4E5B9)
_SECOND = tl.constexpr(0x94D049BB133111EB)


@triton.jit
def tile_forward(
    logits: tl.tensor,
    starts: tl.tensor,
    out: tl.tensor,
    blocks: tl.tensor,
    rows: tl.tensor,
    groups: tl.tensor,
    each: tl.tensor,
    bits: tl.tensor,
    rate: tl.tensor,
    HARD: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    VECTOR: tl.constexpr,
    ONE_KEY: tl.constexpr,
) -> None:
    """Write the samples of some whole rows, soft or HARD."""
    K = groups * VECTOR
    draw, row = _rows_here(blocks, rows, HEIGHT)
    column = tl.arange(0, WIDTH)[None, :]
    z = _perturbed(logits + row * K, _states(starts, draw, row, each, bits, ONE_KEY), column, K)
    top = tl.max(z, 1, keep_dims=True)
    if HARD:
        y = (column == _first(z == top, column)).to(tl.float32)
    else:
        y = tl.exp((z - top) * rate)
        y *= 1 / tl.sum(y, 1, keep_dims=True)
    tl.store(out + (draw * rows + row) * K + column, y, mask=column < K)


@triton.jit
def tile_backward(
    logits: tl.tensor,
    starts: tl.tensor,
    out: tl.tensor,
    grad: tl.tensor,
    blocks: tl.tensor,
    rows: tl.tensor,
    groups: tl.tensor,
    each: tl.tensor,
    bits: tl.tensor,
    rate: tl.tensor,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    VECTOR: tl.constexpr,
    ONE_KEY: tl.constexpr,
) -> None:
    """Write the gradient of some whole rows, of what arrives in `grad`."""
    K = groups * VECTOR
    draw, row = _rows_here(blocks, rows, HEIGHT)
    column = tl.arange(0, WIDTH)[None, :]
    place = (draw * rows + row) * K + column
    z = _perturbed(logits + row * K, _states(starts, draw, row, each, bits, ONE_KEY), column, K)
    g = tl.load(grad + place, mask=column < K, other=0.0).to(tl.float32)
    y = tl.exp((z - tl.max(z, 1, keep_dims=True)) * rate)
    y *= 1 / tl.sum(y, 1, keep_dims=True)
    g = y * (g - tl.sum(g * y, 1, keep_dims=True)) * rate
    tl.store(out + place, g, mask=column < K)


@triton.jit
def row_forward(
    logits: tl.tensor,
    starts: tl.tensor,
    out: tl.tensor,
    tops: tl.tensor,
    sums: tl.tensor,
    blocks: tl.tensor,
    rows: tl.tensor,
    groups: tl.tensor,
    each: tl.tensor,
    bits: tl.tensor,
    rate: tl.tensor,
    HARD: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    VECTOR: tl.constexpr,
    ONE_KEY: tl.constexpr,
) -> None:
    """Write the samples of long rows, their largest entries and sums of exponentials."""
    K = groups * VECTOR
    draw, row = _rows_here(blocks, rows, HEIGHT)
    state, place = _states(starts, draw, row, each, bits, ONE_KEY), draw * rows + row
    top = tl.full((HEIGHT, 1), -3e38, tl.float32)  # finite: -inf - -inf would be NaN
    total = tl.zeros((HEIGHT, 1), tl.float32)
    first = tl.zeros((HEIGHT, 1), tl.int32)
    for begin in range(0, K, WIDTH):
        column = begin + tl.arange(0, WIDTH)[None, :]
        z = _perturbed(logits + row * K, state, column, K)
        here = tl.max(z, 1, keep_dims=True)
        if HARD:
            first = tl.where(here > top, _first(z == here, column).to(tl.int32), first)
        higher = tl.maximum(top, here)
        e = tl.exp((z - higher) * rate)
        total = total * tl.exp((top - higher) * rate) + tl.sum(e, 1, keep_dims=True)
        top = higher
    tl.store(tops + place, top)
    tl.store(sums + place, total)
    for begin in range(0, K, WIDTH):
        column = begin + tl.arange(0, WIDTH)[None, :]
        if HARD:
            y = (column == first).to(tl.float32)
        else:
            z = _perturbed(logits + row * K, state, column, K)
            y = tl.exp((z - top) * rate) * (1 / total)
        tl.store(out + place * K + column, y, mask=column < K)


@triton.jit
def row_backward(
    logits: tl.tensor,
    starts: tl.tensor,
    out: tl.tensor,
    tops: tl.tensor,
    sums: tl.tensor,
    grad: tl.tensor,
    blocks: tl.tensor,
    rows: tl.tensor,
    groups: tl.tensor,
    each: tl.tensor,
    bits: tl.tensor,
    rate: tl.tensor,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    VECTOR: tl.constexpr,
    ONE_KEY: tl.constexpr,
) -> None:
    """Write the gradient of long rows, of what arrives in `grad`."""
    K = groups * VECTOR
    draw, row = _rows_here(blocks, rows, HEIGHT)
    state, place = _states(starts, draw, row, each, bits, ONE_KEY), draw * rows + row
    top, scale = tl.load(tops + place), 1 / tl.load(sums + place)
    mean = tl.zeros((HEIGHT, 1), tl.float32)
    for begin in range(0, K, WIDTH):
        column = begin + tl.arange(0, WIDTH)[None, :]
        g = tl.load(grad + place * K + column, mask=column < K, other=0.0).to(tl.float32)
        z = _perturbed(logits + row * K, state, column, K)
        mean += tl.sum(g * tl.exp((z - top) * rate) * scale, 1, keep_dims=True)
    for begin in range(0, K, WIDTH):
        column = begin + tl.arange(0, WIDTH)[None, :]
        g = tl.load(grad + place * K + column, mask=column < K, other=0.0).to(tl.float32)
        z = _perturbed(logits + row * K, state, column, K)
        y = tl.exp((z - top) * rate) * scale
        tl.store(out + place * K + column, y * (g - mean) * rate, mask=column < K)


@triton.jit
def _rows_here(
    blocks: tl.tensor, rows: tl.tensor, HEIGHT: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """This program's draw, and its rows of the logits `(HEIGHT, 1)`.

    Where the last block reaches past the end it repeats the last row, and writes the same again.
    In 64 bits: products with K pass 2^31 elements.
    """
    program = tl.program_id(0).to(tl.int64)
    row = program % blocks * HEIGHT + tl.arange(0, HEIGHT)[:, None]
    return program // blocks, tl.minimum(row, rows - 1)


@triton.jit
def _states(
    starts: tl.tensor,
    draw: tl.tensor,
    row: tl.tensor,
    each: tl.tensor,
    bits: tl.tensor,
    ONE_KEY: tl.constexpr,
) -> tl.tensor:
    """Where the rows' noise begins: the starts of `Noise.streams`, joined with row counters."""
    if ONE_KEY:
        start, counter = tl.load(starts), draw * each + row
    else:
        start, counter = tl.load(starts + row // each), draw * each + row % each
    return start.to(tl.uint64, bitcast=True) ^ (counter.to(tl.uint64) << bits)


@triton.jit
def _perturbed(logits: tl.tensor, state: tl.tensor, column: tl.tensor, K: tl.tensor) -> tl.tensor:
    """Logits plus Gumbel noise in float32; -inf outside the columns."""
    x = tl.load(logits + column, mask=column < K, other=-float("inf")).to(tl.float32)
    return x - tl.log(_exponential(state, column))


@triton.jit
def _exponential(state: tl.tensor, column: tl.tensor) -> tl.tensor:
    """The values of `Noise(key=...).exponential`, from the bits of `reparam.noise.bits`."""
    z = (state ^ column.to(tl.uint64)) * _GOLDEN
    z = (z ^ (z >> 30)) * _FIRST
    z = (z ^ (z >> 27)) * _SECOND
    z = (z ^ (z >> 31)) >> 12
    u = tl.minimum((z.to(tl.float32) + 0.5) * 2.0**-52, 1 - 2.0**-24)
    # -log1p(-u): what the rounding of 1 - u lost is exact in float32, and added to first order.
    rest = 1 - u
    return (u - (1 - rest)) - tl.log(rest)


@triton.jit
def _first(chosen: tl.tensor, column: tl.tensor) -> tl.tensor:
    """The first chosen column of each row."""
    return tl.min(tl.where(chosen, column, 2**31 - 1), 1, keep_dims=True)
