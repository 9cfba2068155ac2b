"""The loops of `compiled`, for numba: all iterations of one matrix while it lies in the cache.

A product with K by rows and one with K' by columns share a pass over K. Sums over a row may be
taken in any order, which lets them become vectors. Everything compiled is in this file: numba
looks at no other to see whether what it cached is out of date.
"""

from typing import Any

from reparam.kernels.jit import compiled

FREEDOM = ("contract", "reassoc")
CUBE = "{0}[:, :, ::1]"


def _signatures(count: int, *more: str) -> list[str]:
    return [
        f"void({', '.join([CUBE.format(dtype)] * count + list(more))})" for dtype in ("f4", "f8")
    ]


@compiled(_signatures(4, "f8"), *FREEDOM)
def iterate(k: Any, u: Any, v: Any, balanced: Any, tol: Any) -> None:
    """Fill u `(B, T, n)`, v `(B, T + 1, n)` and diag(u) K diag(v) for K `(B, n, n)`.

    A matrix whose row sums are within tol of 1 goes no further, and repeats its last u and v.
    """
    size, steps = k.shape[1], u.shape[1]
    for b in range(k.shape[0]):
        v[b, 0] = 1
        taken = 0
        while taken < steps:
            t = taken
            here, columns = v[b, t], v[b, t + 1]
            columns[:] = 0
            off = 0.0
            for i in range(size):
                total = k[b, i, 0] * here[0]
                for j in range(1, size):
                    total += k[b, i, j] * here[j]
                off = max(off, abs(total * u[b, t - 1, i] - 1)) if t > 0 else 2 * tol + 1
                scale = 1 / total
                u[b, t, i] = scale
                for j in range(size):
                    columns[j] += k[b, i, j] * scale
            if off <= tol:
                break
            for j in range(size):
                columns[j] = 1 / columns[j]
            taken += 1
        for t in range(taken, steps):
            u[b, t] = u[b, taken - 1]
            v[b, t + 1] = v[b, taken]
        for i in range(size):
            for j in range(size):
                balanced[b, i, j] = k[b, i, j] * u[b, -1, i] * v[b, -1, j]


@compiled(_signatures(6), *FREEDOM)
def pull_back(k: Any, u: Any, v: Any, grad: Any, by_v: Any, out: Any) -> None:
    """Fill out with the gradient with respect to log K; `scaling.pullback` says how.

    by_v: room for two rows of each matrix, `(B, 2, n)`.
    """
    size = k.shape[1]
    for b in range(k.shape[0]):
        last = u.shape[1] - 1
        while last > 0:  # what was only repeated has no part in it
            changed = 0
            for j in range(size):
                changed += v[b, last + 1, j] != v[b, last, j]
            if changed:
                break
            last -= 1
        here, there = by_v[b, 0], by_v[b, 1]
        here[:] = 0
        for i in range(size):
            for j in range(size):
                out[b, i, j] = 0
                here[j] -= grad[b, i, j] * k[b, i, j] * u[b, -1, i] * v[b, -1, j]
        for j in range(size):
            here[j] *= v[b, -1, j]
        for t in range(last, -1, -1):
            there[:] = 0
            for i in range(size):
                total = k[b, i, 0] * here[0]
                for j in range(1, size):
                    total += k[b, i, j] * here[j]
                if t == last:
                    for j in range(size):
                        total += grad[b, i, j] * k[b, i, j] * v[b, -1, j]
                scale = -total * u[b, t, i] * u[b, t, i]
                for j in range(size):
                    out[b, i, j] += u[b, t, i] * here[j] + scale * v[b, t, j]
                    there[j] += k[b, i, j] * scale
            for j in range(size):
                there[j] *= -v[b, t, j] * v[b, t, j]
            here, there = there, here
        for i in range(size):
            for j in range(size):
                direct = grad[b, i, j] * u[b, -1, i] * v[b, -1, j]
                out[b, i, j] = (out[b, i, j] + direct) * k[b, i, j]
