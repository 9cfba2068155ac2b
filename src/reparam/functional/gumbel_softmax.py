"""Gumbel-Softmax."""

from typing import TypeGuard

import torch
from torch import Tensor

from reparam.checks import check_tau
from reparam.functional.logits import MODERATE, Empty, check_empty, perturbed, prepared, reach
from reparam.functional.soften import hard_argmax, soft_argmax, straight_through
from reparam.kernels import gumbel_softmax as kernels
from reparam.noise import Key, Noise

LEAST_PLAIN_TAU = 1e-30  # quotients by it stay finite


def gumbel_softmax(
    logits: Tensor,
    tau: float | Tensor = 1.0,
    hard: bool = False,
    dim: int = -1,
    *,
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    key: Key | None = None,
    empty: Empty = "error",
    validate: bool = True,
) -> Tensor:
    """Sample softmax((logits + G) / tau), G i.i.d. Gumbel(0, 1) (Jang et al. 2017, equation 2).

    logits: unnormalized log-probabilities, classes along `dim`; -inf excludes a class.
    tau: temperature >= 0: a float, or a tensor that broadcasts against the shape of `logits`
        without `dim`, and may be learned. 0 gives the exact one-hot, whose gradient is zero.
    hard: return the one-hot of the largest entry, with the gradient of the soft sample.
    mask: True where a class is allowed; broadcasts against `logits`.
    generator, key: where the randomness comes from, instead of the global generator. key: an
        integer, or an int64 tensor of the shape of `logits` without `dim`, so that each row's
        sample depends on its own key alone.
    empty: what to do about a row without an allowed class: `"error"`, or `"zero"` for a row of
        zeros with zero gradient.
    validate: refuse NaN and +inf logits, and empty rows. Values cannot be examined under
        `torch.compile` and `torch.func`: there, nothing is refused.

    >>> logits = torch.tensor([2.0, 1.0, 0.0])
    >>> y = gumbel_softmax(logits, tau=0.5, hard=True, generator=torch.Generator().manual_seed(0))
    >>> y.sum().item()
    1.0
    """
    check_tau(tau)
    check_empty(empty)
    noise = Noise(generator, key=key)
    if mask is None and -logits.ndim <= dim < logits.ndim and _is_plain(tau):
        size = reach(logits)
        if size < MODERATE:
            if dim in (-1, logits.ndim - 1):
                return _plain_sample(logits, tau, hard, noise, size)
            moved = logits.movedim(dim, -1)
            return _plain_sample(moved, tau, hard, noise, size).movedim(-1, dim)
    logits, excluded = prepared(logits, dim, mask, empty, validate)
    z = perturbed(logits.movedim(dim, -1), 1, noise)[0]
    y = _softened(z, tau, hard).movedim(-1, dim).to(logits.dtype)
    return y if excluded is None else y.masked_fill(excluded, 0)


def gumbel_softmax_samples(
    logits: Tensor, n: int, tau: float | Tensor, hard: bool, noise: Noise
) -> Tensor:
    """Samples `(n, *batch, K)` of checked logits `(*batch, K)`, by the fastest way for the size."""
    if noise.uniforms is None and _is_plain(tau) and (size := reach(logits)) < MODERATE:
        if n == 1:
            return _plain_sample(logits, tau, hard, noise, size).unsqueeze(0)
        if kernels.serves(logits):
            return kernels.gumbel_softmax(logits, tau, hard, noise, n, size=size)
    return _softened(perturbed(logits, n, noise), tau, hard).to(logits.dtype)


def _softened(z: Tensor, tau: float | Tensor, hard: bool) -> Tensor:
    y = soft_argmax(z, tau)
    return straight_through(hard_argmax(z), y) if hard else y


def _is_plain(tau: float | Tensor) -> TypeGuard[float]:
    """Whether quotients of moderate logits by tau are finite, and nobody learns it."""
    return not isinstance(tau, Tensor) and LEAST_PLAIN_TAU <= tau < torch.inf


def _plain_sample(logits: Tensor, tau: float, hard: bool, noise: Noise, size: float) -> Tensor:
    """One sample of moderate logits up to +-size, by the fastest way for their number."""
    if kernels.serves(logits):
        return kernels.gumbel_softmax(logits, tau, hard, noise, size=size)
    rows = logits.float()
    z = torch.add(_negative_gumbel(rows, noise).mul_(-1 / tau), rows, alpha=1 / tau)
    y = torch.softmax(z, -1)
    if hard:
        y = y.clone()  # keeps the gradient of the soft sample, and takes the values of the hard one
        y.detach().zero_().scatter_(-1, z.argmax(-1, keepdim=True), 1.0)
    return y if y.dtype == logits.dtype else y.to(logits.dtype)


def _negative_gumbel(rows: Tensor, noise: Noise) -> Tensor:
    if noise.key is not None:
        return -noise.gumbel(1, rows)[0]
    # What `Noise.gumbel` does, in place: small tensors cost what their operations cost to call.
    blank = torch.empty_like(rows, memory_format=torch.contiguous_format)
    return blank.exponential_(generator=noise.generator).log_()
