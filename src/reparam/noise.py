"""Where randomness comes from: exact noise in float32 or float64, from a generator, a key or given.

A key is a pure function's argument: the same key gives the same bits on every device, in eager and
compiled mode, in every kernel, whatever was drawn before.
"""

from collections.abc import Callable
from math import pi
from typing import overload

import torch
from torch import Tensor

from reparam.checks import inspectable, working_dtype

Key = int | Tensor
"""A number, or an int64 tensor of them with the shape of the batch: one for each row."""


class Noise:
    """A source of standard noise: a generator, a key, or uniforms that the caller fixed.

    Every method takes a count n and a tensor `like`, and returns independent values of shape
    `(n, *like.shape)` on its device, in float64 if `like` is float64 and float32 otherwise: half
    precision has too few values near 0 to sample from.

    generator: the fastest exact sampler is used, whose tails reach past 30 standard units.
    key: a number, or int64 numbers with the shape of `like`'s leading dimensions. What is drawn in
        a row then depends on the row's own key alone: not on its batch, nor on how that is split.
    uniforms: values in (0, 1), which pass through the inverse distribution function (increasing
        in u).
    """

    def __init__(
        self,
        generator: torch.Generator | None = None,
        uniforms: Tensor | None = None,
        key: Key | None = None,
    ) -> None:
        if (generator is not None) + (uniforms is not None) + (key is not None) > 1:
            given = {"generator=": generator, "noise=": uniforms, "key=": key}
            names = " and ".join(name for name, value in given.items() if value is not None)
            raise ValueError(
                f"expected one source of randomness, got {names}; leave out all but one"
            )
        if uniforms is not None and inspectable():
            _check_uniforms(uniforms)
        if key is not None:
            _check_key(key)
        self.generator = generator
        self.uniforms = uniforms
        self.key = key
        self._calls = 0

    def split(self, parts: int) -> list["Noise"]:
        """Sources for the parts of a draw; given uniforms are split along their first dimension."""
        if self.uniforms is None:
            return [self] * parts
        if len(self.uniforms) != parts:
            raise ValueError(
                f"noise: expected uniforms of shape ({parts}, n, *batch, *event), one set for each "
                f"part of the draw, got {tuple(self.uniforms.shape)}"
            )
        return [Noise(uniforms=part) for part in self.uniforms]

    def uniform(self, n: int, like: Tensor) -> Tensor:
        """U(0, 1): never 0 nor 1, and with full relative precision near 0."""
        return self._draw(n, like, self._uniform, lambda u: u)

    def exponential(self, n: int, like: Tensor) -> Tensor:
        """Exponential(1), with full relative precision near 0."""
        return self._draw(n, like, self._exponential, lambda u: -torch.log1p(-u))

    def gumbel(self, n: int, like: Tensor) -> Tensor:
        """Gumbel(0, 1) = -log E with E ~ Exponential(1)."""
        return self._draw(
            n, like, lambda x: self._exponential(x).log_().neg_(), lambda u: -(-u.log()).log()
        )

    def logistic(self, n: int, like: Tensor) -> Tensor:
        """Logistic(0, 1): the difference of two Gumbel values."""
        return self._draw(
            n, like, lambda x: self._exponential(x).log() - self._exponential(x).log(), torch.logit
        )

    def normal(self, n: int, like: Tensor) -> Tensor:
        """N(0, 1)."""
        return self._draw(n, like, self._normal, torch.special.ndtri)

    def half_normal(self, n: int, like: Tensor) -> Tensor:
        """|N(0, 1)|."""
        return self._draw(
            n, like, lambda x: self._normal(x).abs(), lambda u: -torch.special.ndtri((1 - u) / 2)
        )

    def laplace(self, n: int, like: Tensor) -> Tensor:
        """Laplace(0, 1): the difference of two exponential values."""
        return self._draw(
            n, like, lambda x: self._exponential(x) - self._exponential(x), _laplace_quantile
        )

    def cauchy(self, n: int, like: Tensor) -> Tensor:
        """Cauchy(0, 1): a half-Cauchy value with a random sign."""
        return self._draw(
            n,
            like,
            lambda x: torch.copysign(self._half_cauchy(x), self._normal(x)),
            lambda u: torch.where(u < 0.5, -1, 1) / torch.tan(pi * torch.minimum(u, 1 - u)),
        )

    def half_cauchy(self, n: int, like: Tensor) -> Tensor:
        """|Cauchy(0, 1)|."""
        return self._draw(n, like, self._half_cauchy, lambda u: 1 / torch.tan(pi / 2 * (1 - u)))

    def streams(self, n: int, like: Tensor) -> tuple[Tensor, int]:
        """Where the `bits` of n draws begin: starts `(M,)`, and the number of rows for each.

        For kernels that make their own bits. Without a key, one is drawn from the generator.
        """
        rows = like.shape[:-1]
        if self.key is None:
            return self._drawn_key(like).to(like.device).reshape(1), rows.numel()
        key = _as_tensor(self.key, like.device)
        _check_fits(key, rows)
        self._calls += 1
        return fold_in(key, self._calls).reshape(-1), rows[key.ndim :].numel()

    def _drawn_key(self, like: Tensor) -> Tensor:
        device = like.device if self.generator is None else self.generator.device
        return torch.empty((), dtype=torch.int64, device=device).random_(generator=self.generator)

    def _draw(
        self,
        n: int,
        like: Tensor,
        native: Callable[[Tensor], Tensor],
        quantile: Callable[[Tensor], Tensor],
    ) -> Tensor:
        dtype = working_dtype(like.dtype)
        shape = (n, *like.shape)
        if self.uniforms is None:
            # `like` is expanded rather than its shape read, so that vmap sees a batched tensor.
            with torch.no_grad():
                return native(torch.empty_like(like.detach().expand(shape), dtype=dtype))
        if self.uniforms.shape != shape:
            raise ValueError(
                f"noise: expected uniforms of shape {shape} = (n, *batch, *event), "
                f"got {tuple(self.uniforms.shape)}"
            )
        # The transform runs in the precision the uniforms came in, and is cast once.
        return quantile(self.uniforms).to(like.device, dtype)

    def _exponential(self, blank: Tensor) -> Tensor:
        if self.key is not None:
            return -torch.log1p(-self._uniform(blank))
        if torch.compiler.is_compiling() and self.generator is None:
            # The compiler would draw 24 bits, which cuts the Gumbel tail at 16.6.
            return -torch.log1p(-self._wide_uniform(blank)).to(blank.dtype)
        return torch.empty_like(blank).exponential_(generator=self.generator)

    def _normal(self, blank: Tensor) -> Tensor:
        if self.key is not None:
            normal: Tensor = torch.special.ndtri(self._wide_uniform(blank))
            return normal.to(blank.dtype)
        return torch.empty_like(blank).normal_(generator=self.generator)

    def _uniform(self, blank: Tensor) -> Tensor:
        below_one = 1 - torch.finfo(blank.dtype).eps / 2
        return self._wide_uniform(blank).to(blank.dtype).clamp(max=below_one)

    def _half_cauchy(self, blank: Tensor) -> Tensor:
        return 1 / torch.tan(pi / 2 * self._uniform(blank))

    def _wide_uniform(self, blank: Tensor) -> Tensor:
        """Midpoints of 2**52 equal bins in (0, 1), as float64: symmetric, exact, never 0 nor 1."""
        if self.key is not None:
            ndim = self.key.ndim if isinstance(self.key, Tensor) else 0
            _check_fits(self.key, blank.shape[1:])
            row = blank[0].unsqueeze(-1) if blank.ndim == ndim + 1 else blank[0]
            integers = bits(*self.streams(len(blank), row), len(blank), row.shape[-1])
            integers = integers.view(blank.shape)
        elif self.generator is None:  # the out-of-place form is the one the compiler knows
            integers = torch.randint_like(blank, 2**52, dtype=torch.int64)
        else:
            integers = torch.empty_like(blank, dtype=torch.int64)
            integers.random_(2**52, generator=self.generator)
        return integers.double().add_(0.5).mul_(2.0**-52)


@overload
def fold_in(key: int, *numbers: int) -> int: ...
@overload
def fold_in(key: Tensor, *numbers: Key) -> Tensor: ...
@overload
def fold_in(key: int, *numbers: Tensor) -> Tensor: ...
def fold_in(key: Key, *numbers: Key) -> Key:
    """A key for one step, process or row of a run: well mixed, the same on every machine.

    Integers give an integer in [0, 2^64), which is also a seed; int64 tensors give a tensor of
    their broadcast shape.

    >>> fold_in(0, 1) != fold_in(0, 2) != fold_in(1, 1)
    True
    >>> fold_in(0, torch.arange(3)).shape  # a key for each of 3 rows
    torch.Size([3])
    """
    for each in (key, *numbers):
        _check_key(each)
    tensors = [x for x in (key, *numbers) if isinstance(x, Tensor)]
    state = _as_tensor(key, tensors[0].device if tensors else None)
    if tensors and torch.compiler.is_compiling():
        state = state ^ _UNSEEN
    for number in numbers:
        added = number.to(state.device) if isinstance(number, Tensor) else _signed(number)
        state = _mix_((state ^ _OFFSET) * _GOLDEN + added)
    return state if tensors else int(state) % 2**64


def bits(starts: Tensor, each: int, n: int, columns: int) -> Tensor:
    """52-bit integers `(n, M, each, columns)` of the streams that begin at `starts` `(M,)`.

    SplitMix64 (Steele et al. 2014, "Fast splittable pseudorandom number generators",
    doi:10.1145/2660193.2660195), with a counter of the row and the column in place of its sum.
    """
    device = starts.device
    row = torch.arange(n * each, device=device).view(n, 1, each, 1)
    column = torch.arange(columns, device=device)
    # In one expression, so that no counter outlives its use.
    return mix_(starts.view(-1, 1, 1) ^ ((row << column_bits(columns)) | column))


def mix_(counter: Tensor) -> Tensor:
    """The 52-bit integers of counters that were joined with their starts, in their memory."""
    return _right(_mix_(counter.mul_(_GOLDEN)), 12)


def column_bits(columns: int) -> int:
    """How many bits of a counter number the columns; the rows have those above."""
    return (columns - 1).bit_length()


def _mix_(z: Tensor) -> Tensor:
    """SplitMix64's finalizer; products wrap around.

    What is multiplied comes out of an exclusive or with what is in memory: where the product of a
    loop counter and a known number overflowed, C++ compilers would conclude that the loop ends.
    """
    z.bitwise_xor_(_right(z, 30)).mul_(_signed(0xBF58476D1CE4E5B9))
    z.bitwise_xor_(_right(z, 27)).mul_(_signed(0x94D049BB133111EB))
    return z.bitwise_xor_(_right(z, 31))


def _right(z: Tensor, by: int) -> Tensor:
    """The bits of int64 z moved right, zeros coming in: `>>` alone would copy the sign."""
    moved: Tensor = z >> by
    return moved.bitwise_and_(2 ** (64 - by) - 1)


def _signed(number: int) -> int:
    """The int64 with the bits of a number modulo 2^64."""
    return (number + 2**63) % 2**64 - 2**63


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_OFFSET = _signed(0x632BE59BD9B4E019)
_UNSEEN = torch.zeros((), dtype=torch.int64, device="cpu")
"""A zero, which `torch.compile` reads from memory where it would write a number into the code."""


def _as_tensor(key: Key, device: torch.device | None) -> Tensor:
    if isinstance(key, Tensor):
        return key.to(device)
    return torch.tensor(_signed(key), dtype=torch.int64, device=device)


def _check_fits(key: Key, rows: torch.Size) -> None:
    if isinstance(key, Tensor) and key.shape != rows[: key.ndim]:
        raise ValueError(
            "key: expected an integer, or int64 keys with the shape of the batch, the first "
            f"dimensions of {tuple(rows)}, got {tuple(key.shape)}"
        )


def _check_key(key: Key) -> None:
    integer = isinstance(key, int) and not isinstance(key, bool)
    if integer or (isinstance(key, Tensor) and key.dtype == torch.int64):
        return
    got = f"a tensor of {key.dtype}" if isinstance(key, Tensor) else repr(key)
    raise TypeError(
        f"key: expected an integer or an int64 tensor of them, got {got}; for one key to a row, "
        "reparam.fold_in(seed, torch.arange(rows))"
    )


def _laplace_quantile(u: Tensor) -> Tensor:
    return torch.where(u < 0.5, (2 * u).log(), -(2 * (1 - u)).log())


def _check_uniforms(u: Tensor) -> None:
    outside = int((~((u > 0) & (u < 1))).sum())
    if outside:
        raise ValueError(
            f"noise: expected uniforms strictly between 0 and 1, got {outside} of {u.numel()} "
            "entries outside; draw them with torch.rand in float64, or as midpoints (i + 0.5) / n"
        )
