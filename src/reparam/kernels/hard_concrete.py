"""Hard concrete gates on the CPU, in place, in chunks that stay in the cache.

The plain formula is `clamp(sigmoid((logits + noise.logistic(...)) / tau) (zeta - gamma) + gamma)`,
which draws two exponentials for each gate, one value after the other. Here a logistic value comes
from one raw 32-bit integer, and only the gates are saved.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from reparam.checks import inspectable
from reparam.noise import Noise

CHUNK = 32_768  # elements
SMALLEST = 2_000  # elements, below which one call costs more than it saves


def serves(logits: Tensor, noise: Noise) -> bool:
    """Whether this is faster than the plain formula; a key's noise has one way to be drawn."""
    return (
        inspectable()
        and noise.key is None
        and logits.dtype != torch.float64
        and logits.device.type == "cpu"
        and logits.numel() >= SMALLEST
    )


def hard_concrete(
    logits: Tensor, tau: float, gamma: float, zeta: float, generator: torch.Generator | None
) -> Tensor:
    """Gates in float32 of logits `(N,)`."""
    z = torch.empty_like(logits, dtype=torch.float32, memory_format=torch.contiguous_format)
    words = torch.empty(0, dtype=torch.int64)  # two numbers each
    for part in _chunks(z):
        gate = _logistic_(z[part], words, generator)
        gate.add_(logits[part]).div_(tau).sigmoid_().mul_(zeta - gamma).add_(gamma).clamp_(0, 1)
    return z


def gradient(z: Tensor, grad: Tensor, tau: float, gamma: float, zeta: float) -> Tensor:
    """Of the logits, from gates `(N,)`: (z - gamma)(zeta - z) / ((zeta - gamma) tau), or 0."""
    out = torch.empty_like(z)
    for part in _chunks(z):
        gate, slope = z[part], torch.sub(z[part], gamma, out=out[part])
        slope.mul_(zeta - gate).mul_(grad[part]).div_((zeta - gamma) * tau)
        slope.mul_((gate * (1 - gate)).sign_())  # 0 at both ends, 1 between them
    return out


def _logistic_(out: Tensor, words: Tensor, generator: torch.Generator | None) -> Tensor:
    """Logistic(0, 1), symmetric and with full precision in both tails, out to 22 units.

    An integer's distance to the nearer end of the range gives p = min(u, 1 - u), by its own
    precision; its half of the range gives the sign.
    """
    drawn = words.resize_(out.numel() // 2 + 1).random_(-(2**63), None, generator=generator)
    bits = drawn.view(torch.int32)[: out.numel()].view(out.shape)
    side = bits >> 31  # 0, or -1 in the lower half, where x ^ -1 = -1 - x
    tail = bits.bitwise_xor_(side).bitwise_xor_(2**31 - 1)
    p = out.copy_(tail).add_(0.5).mul_(2.0**-32)
    return p.div_(1 - p).log_().mul_(side.mul_(2).add_(1).neg_())


def _chunks(x: Tensor) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, len(x), CHUNK))
