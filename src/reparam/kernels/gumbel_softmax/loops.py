"""The loops of `compiled`, for numba: made for vector instructions, one thread, without the GIL.

Noise is made in the cache, from counters; its two logarithms and the exponential are polynomials
without branches, since calls of the C library would keep loops from becoming vectors. No
`fastmath` but where a function says which freedom it takes. Everything compiled is in this file:
numba looks at no other to see whether what it cached is out of date.
"""

from collections.abc import Callable
from math import log
from typing import Any

import numpy as np

from reparam.kernels.jit import F, compiled, njit

f4, i4, u8 = np.float32, np.int32, np.uint64

PIECE = 1024  # elements whose noise stays in the first-level cache
WIDE = 48  # classes from which on vectors run along a row, and not across rows
LANES = 128  # rows across which they run, whose noise stays there too

# Numba widens mixed and integer arithmetic to 64 bits: so every constant has its type, and integer
# results are cast back.
ONE, HALF, BELOW_ONE = f4(1), f4(0.5), f4(1 - 2**-24)
LN2_HIGH = f4(0.693359375)  # few enough bits for exact products with an exponent
LN2_LOW, LOG2_E = f4(log(2) - 0.693359375), f4(1 / log(2))
MANTISSA, MANTISSA_BITS, ROOT_HALF = i4(0x7FFFFF), i4(23), i4(0x3F3504F3)
ROUNDER, ROUNDER_BITS = f4(1.5 * 2**23), i4(0x4B400000)  # a float32 this large has no fraction
LEAST_EXPONENT = f4(-104)  # exp of it rounds to 0
UPSCALE, DOWNSCALE = i4(127 + 64), f4(2**-64)

# Minimax for the relative error of the whole function, by Lawson's iteration at 2,000 Chebyshev
# nodes: log(1 + f) = f + f^2 (f P(f) - 1/2) to 6e-9 for 1 + f in [sqrt(1/2), sqrt(2)], and
# exp(r) = 1 + r + r^2 Q(r) to 4e-9 for |r| <= log(2) / 2.
P7, P6, P5, P4 = f4(-0.07634497), f4(0.12761578), f4(-0.13160183), f4(0.14201757)
P3, P2, P1, P0 = f4(-0.16623357), f4(0.20001227), f4(-0.25000820), f4(0.33333331)
Q4, Q3, Q2, Q1, Q0 = f4(0.0013814613), f4(0.0083687101), f4(0.041668389), f4(0.16666521), f4(0.5)

GOLDEN, MIX_1, MIX_2 = u8(0x9E3779B97F4A7C15), u8(0xBF58476D1CE4E5B9), u8(0x94D049BB133111EB)
BY_12, BY_27, BY_30, BY_31 = u8(12), u8(27), u8(30), u8(31)
FROM_1_TO_2, HALF_A_BIN = u8(0x3FF << 52), 2.0**-53


def _inlined(*freedom: str) -> Callable[[F], F]:
    decorate: Callable[[F], F] = njit(fastmath=set(freedom), error_model="numpy")
    return decorate


@_inlined("contract")
def _uniform(counter: Any) -> Any:
    """`Noise(key=...).uniform`: see `noise.mix_`. The quotient is exact, then rounded once."""
    z = counter * GOLDEN
    z = (z ^ (z >> BY_30)) * MIX_1
    z = (z ^ (z >> BY_27)) * MIX_2
    z = (z ^ (z >> BY_31)) >> BY_12
    return min(f4((u8(z | FROM_1_TO_2).view(np.float64) - 1.0) + HALF_A_BIN), BELOW_ONE)


@_inlined("contract")
def _log_series(k: Any, f: Any) -> Any:
    """k log 2 + log(1 + f), smallest terms first."""
    p = P7
    p = p * f + P6
    p = p * f + P5
    p = p * f + P4
    p = p * f + P3
    p = p * f + P2
    p = p * f + P1
    p = p * f + P0
    return k * LN2_HIGH + (f + (f * f * (f * p - HALF) + k * LN2_LOW))


@_inlined("contract")
def _log(x: Any) -> Any:
    """Logarithm of a positive normal number, to 1 unit in the last place."""
    bits = i4(f4(x).view(i4) - ROOT_HALF)
    k = f4(i4(bits >> MANTISSA_BITS))
    return _log_series(k, i4((bits & MANTISSA) + ROOT_HALF).view(f4) - ONE)


@_inlined("contract")
def _exponential(u: Any) -> Any:
    """-log(1 - u) to 3 units in the last place, also of the smallest u."""
    bits = i4(f4(ONE - u).view(i4) - ROOT_HALF)
    k = i4(bits >> MANTISSA_BITS)
    f = i4((bits & MANTISSA) + ROOT_HALF).view(f4) - ONE
    f = -u if k == 0 else f  # what 1 - u has lost to rounding
    return -_log_series(f4(k), f)


@_inlined("contract")
def _exp(x: Any) -> Any:
    """Exponential of x <= 0, to 2 units in the last place, down to the subnormal numbers."""
    x = max(x, LEAST_EXPONENT)
    rounded = x * LOG2_E + ROUNDER
    k = rounded - ROUNDER
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    q = Q4
    q = q * r + Q3
    q = q * r + Q2
    q = q * r + Q1
    q = q * r + Q0
    power = i4(i4(i4(f4(rounded).view(i4) - ROUNDER_BITS) + UPSCALE) << MANTISSA_BITS)
    return (ONE + (r + r * r * q)) * power.view(f4) * DOWNSCALE


@_inlined("nnan", "nsz")
def _largest(x: Any) -> Any:
    """The maximum, of numbers without NaN: lanes may compare in any order."""
    best = x[0]
    for i in range(len(x)):
        best = max(best, x[i])
    return best


@_inlined("reassoc")
def _total(x: Any) -> Any:
    """The sum, in any order."""
    total = f4(0)
    for i in range(len(x)):
        total += x[i]
    return total


@_inlined("reassoc", "contract")
def _inner(x: Any, y: Any) -> Any:
    """The sum of products, in any order."""
    total = f4(0)
    for i in range(len(x)):
        total += x[i] * y[i]
    return total


SAMPLES = (
    "void(float32[:, ::1], float32, Tuple((int64, int64[::1], int64, int64)), float32[:, ::1], "
    "float32[:, ::1])"
)
"""Of functions (x, tau, place, y, hot): fill y `(rows, K)`, and hot unless it has no rows, for
logits x. place: what `_count` takes, to number the rows."""


@_inlined()
def _count(states: Any, first: int, starts: Any, each: int, bits: int) -> None:
    """Fill in the counters of first columns of rows from `first` on, joined with their starts."""
    done = 0
    while done < len(states):
        group = (first + done) // each
        inner = first + done - group * each
        size = min(each - inner, len(states) - done)
        start, number = starts[group % len(starts)], group // len(starts) * each + inner
        for i in range(size):
            states[done + i] = u8(start ^ ((number + i) << bits))
        done += size


@_inlined()
def _mark(z: Any, best: Any, hot: Any) -> None:
    """One-hot of the first entry equal to `best`."""
    for j in range(len(z)):
        hot[j] = ONE if z[j] == best else f4(0)
    if _total(hot) != ONE:
        found = False
        for j in range(len(z)):
            hot[j] = f4(0) if found else hot[j]
            found = found or hot[j] == ONE


@_inlined()
def _perturb(x: Any, states: Any, z: Any) -> None:
    """z `(K, LANES)`: the logits x `(rows, K)`, rows <= LANES, plus noise."""
    flat = z.reshape(-1)
    for j in range(len(z)):
        line = z[j]
        for r in range(LANES):
            line[r] = _uniform(states[r] ^ u8(j))
    for i in range(len(flat)):
        flat[i] = -_log(_exponential(flat[i]))
    for j in range(len(z)):
        line = z[j]
        for r in range(len(x)):
            line[r] += x[r, j]


@_inlined()
def _lead(z: Any, best: Any, winner: Any) -> None:
    """The largest entry of each column of z `(K, LANES)`, and where it is first."""
    best[:], winner[:] = z[0], 0
    for j in range(1, len(z)):
        line = z[j]
        for r in range(LANES):
            better = line[r] > best[r]
            best[r] = line[r] if better else best[r]
            winner[r] = j if better else winner[r]


@compiled(SAMPLES, "contract")
def sample_narrow(x: Any, tau: Any, place: Any, y: Any, hot: Any) -> None:
    """Of few classes: LANES rows beside each other in every step, as columns of z."""
    first, starts, each, bits = place
    rows, classes = x.shape
    states, winner = np.zeros(LANES, u8), np.empty(LANES, i4)
    best, total, z = np.empty(LANES, f4), np.empty(LANES, f4), np.empty((classes, LANES), f4)
    for top in range(0, rows, LANES):
        size = min(LANES, rows - top)
        _count(states[:size], first + top, starts, each, bits)
        _perturb(x[top : top + size], states, z)
        _lead(z, best, winner)
        total[:] = 0
        for j in range(classes):
            line = z[j]
            for r in range(LANES):
                line[r] = _exp((line[r] - best[r]) / tau)
                total[r] += line[r]
        for j in range(classes):
            line = z[j]
            for r in range(size):
                y[top + r, j] = line[r] / total[r]
        if len(hot) > 0:
            hot[top : top + size] = 0
            for r in range(size):
                hot[top + r, winner[r]] = ONE


@compiled(SAMPLES, "contract")
def sample_wide(x: Any, tau: Any, place: Any, y: Any, hot: Any) -> None:
    """Of many classes: row by row, PIECE classes beside each other."""
    first, starts, each, bits = place
    rows, classes = x.shape
    states, u = np.empty(rows, u8), np.empty(PIECE, f4)
    _count(states, first, starts, each, bits)
    for row in range(rows):
        z = y[row]
        for at in range(0, classes, PIECE):
            logits, out = x[row, at : at + PIECE], z[at : at + PIECE]
            for i in range(len(out)):
                u[i] = _uniform(states[row] ^ u8(at + i))
            for i in range(len(out)):
                out[i] = logits[i] - _log(_exponential(u[i]))
        best = _largest(z)
        if len(hot) > 0:
            _mark(z, best, hot[row])
        for j in range(classes):
            z[j] = _exp((z[j] - best) / tau)
        scale = ONE / _total(z)
        for j in range(classes):
            z[j] *= scale


@compiled("void(float32[:, ::1], float32[:, ::1], float32, float32[:, ::1])", "contract")
def pull_back(grad: Any, y: Any, tau: Any, out: Any) -> None:
    """Fill out `(rows, K)` with y (grad - <grad, y>) / tau."""
    rows, classes = y.shape
    for row in range(rows):
        mean = _inner(grad[row], y[row])
        for j in range(classes):
            out[row, j] = y[row, j] * (grad[row, j] - mean) / tau
