"""Where randomness comes from: exact noise in float32 or float64, native or from given uniforms."""

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor

from reparam.checks import inspectable, working_dtype


class Noise:
    """A source of standard noise: a generator, or uniforms that the caller fixed.

    Every method takes a count n and a tensor `like`, and returns independent values of shape
    `(n, *like.shape)` on its device, in float64 if `like` is float64 and float32 otherwise: half
    precision has too few values near 0 to sample from.

    Given uniforms pass through the inverse distribution function (increasing in u); without them
    the fastest exact sampler is used, whose tails reach past 30 standard units.
    """

    def __init__(
        self, generator: torch.Generator | None = None, uniforms: Tensor | None = None
    ) -> None:
        if generator is not None and uniforms is not None:
            raise ValueError("expected generator= or noise=, got both; noise needs no generator")
        if uniforms is not None and inspectable():
            _check_uniforms(uniforms)
        self.generator = generator
        self.uniforms = uniforms

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
            n, like, lambda x: -self._exponential(x).log(), lambda u: -(-u.log()).log()
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
        if torch.compiler.is_compiling() and self.generator is None:
            # The compiler would draw 24 bits, which cuts the Gumbel tail at 16.6.
            return -torch.log1p(-_wide_uniform(blank, None)).to(blank.dtype)
        return torch.empty_like(blank).exponential_(generator=self.generator)

    def _normal(self, blank: Tensor) -> Tensor:
        return torch.empty_like(blank).normal_(generator=self.generator)

    def _uniform(self, blank: Tensor) -> Tensor:
        below_one = 1 - torch.finfo(blank.dtype).eps / 2
        return _wide_uniform(blank, self.generator).to(blank.dtype).clamp(max=below_one)

    def _half_cauchy(self, blank: Tensor) -> Tensor:
        return 1 / torch.tan(pi / 2 * self._uniform(blank))


def fold_in(seed: int, *numbers: int) -> int:
    """A seed for one step, process or row of a run: well mixed, the same on every machine.

    >>> fold_in(0, 1) != fold_in(0, 2) != fold_in(1, 1)
    True
    """
    for number in numbers:
        # The finalizer of SplitMix64 (Steele et al. 2014, "Fast splittable pseudorandom number
        # generators", doi:10.1145/2660193.2660195).
        z = (seed * 0x9E3779B97F4A7C15 + number + 0x632BE59BD9B4E019) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        seed = z ^ z >> 31
    return seed


def _wide_uniform(blank: Tensor, generator: torch.Generator | None) -> Tensor:
    """Midpoints of 2**52 equal bins in (0, 1), as float64: symmetric, exact, never 0 nor 1."""
    if generator is None:  # the out-of-place form is the one the compiler knows
        bits = torch.randint_like(blank, 2**52, dtype=torch.int64)
    else:
        bits = torch.empty_like(blank, dtype=torch.int64).random_(2**52, generator=generator)
    return (bits.double() + 0.5) * 2.0**-52


def _laplace_quantile(u: Tensor) -> Tensor:
    return torch.where(u < 0.5, (2 * u).log(), -(2 * (1 - u)).log())


def _check_uniforms(u: Tensor) -> None:
    outside = int((~((u > 0) & (u < 1))).sum())
    if outside:
        raise ValueError(
            f"noise: expected uniforms strictly between 0 and 1, got {outside} of {u.numel()} "
            "entries outside; draw them with torch.rand in float64, or as midpoints (i + 0.5) / n"
        )
