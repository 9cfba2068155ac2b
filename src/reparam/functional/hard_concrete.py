"""Hard concrete gates in [0, 1], that are exactly 0 or 1 with positive probability."""

import math
from typing import Any

import torch
from torch import Tensor

from reparam.checks import check_floating, inspectable, working_dtype
from reparam.kernels import hard_concrete as kernels
from reparam.noise import Key, Noise


def hard_concrete(
    logits: Tensor,
    tau: float = 2 / 3,
    gamma: float = -0.1,
    zeta: float = 1.1,
    *,
    generator: torch.Generator | None = None,
    key: Key | None = None,
    validate: bool = True,
) -> Tensor:
    """Sample gates clamp(sigmoid((logits + L) / tau) (zeta - gamma) + gamma, 0, 1), L logistic.

    Louizos et al. 2018, "Learning sparse neural networks through L0 regularization",
    arXiv:1712.01312: their log alpha is `logits`, their beta is tau.

    logits: any shape; each gate has noise of its own. Infinite logits fix their gates.
    tau: temperature > 0. gamma < 0 and zeta > 1: the interval that the gates are clamped from.
    generator, key: where the randomness comes from, instead of the global generator. key: an
        integer, or an int64 tensor of the shape of the leading dimensions of `logits`.
    validate: refuse NaN logits, except under `torch.compile` and `torch.func`.

    Where a gate is 0 or 1, its gradient is zero.

    >>> hard_concrete(torch.tensor([-100.0, 100.0]))
    tensor([0., 1.])
    """
    check_interval(gamma, zeta)
    check_gate_tau(tau)
    _check_logits(logits, validate)
    noise = Noise(generator, key=key)
    if kernels.serves(logits, noise):
        shape = (tau, gamma, zeta)
        z: Tensor = _HardConcrete.apply(logits.reshape(-1), shape, generator)  # type: ignore[no-untyped-call]
        return z.view(logits.shape).to(logits.dtype)
    s = torch.sigmoid((logits + noise.logistic(1, logits)[0]) / tau)
    return stretched(s, gamma, zeta).to(logits.dtype)


def hard_concrete_eval(logits: Tensor, gamma: float = -0.1, zeta: float = 1.1) -> Tensor:
    """The gates to evaluate a trained network with, without noise (Louizos et al. 2018).

    >>> hard_concrete_eval(torch.tensor([-3.0, 0.0, 3.0]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    check_interval(gamma, zeta)
    check_floating("logits", logits)
    s = torch.sigmoid(logits.to(working_dtype(logits.dtype)))
    return stretched(s, gamma, zeta).to(logits.dtype)


def hard_concrete_l0(
    logits: Tensor, tau: float = 2 / 3, gamma: float = -0.1, zeta: float = 1.1
) -> Tensor:
    """P(gate != 0), whose sum is the expected number of open gates (Louizos et al. 2018).

    >>> hard_concrete_l0(torch.zeros(2), tau=1.0, gamma=-0.5, zeta=1.5)
    tensor([0.7500, 0.7500])
    """
    check_interval(gamma, zeta)
    check_gate_tau(tau)
    check_floating("logits", logits)
    wide = logits.to(working_dtype(logits.dtype))
    return torch.sigmoid(wide - tau * math.log(-gamma / zeta)).to(logits.dtype)


class _HardConcrete(torch.autograd.Function):
    """Gates in float32 of logits `(N,)`, of which they alone are saved."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        shape: tuple[float, float, float],
        generator: torch.Generator | None,
    ) -> Tensor:
        z = kernels.hard_concrete(logits, *shape, generator)
        ctx.save_for_backward(z)
        ctx.shape = shape
        return z

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (z,) = ctx.saved_tensors
        tau, gamma, zeta = ctx.shape
        if not torch.is_grad_enabled():
            return kernels.gradient(z, grad, tau, gamma, zeta), None, None
        # A second derivative is wanted: the formula, differentiable.
        slope = (z - gamma) * (zeta - z) / ((zeta - gamma) * tau)
        return grad * slope.masked_fill((z == 0) | (z == 1), 0), None, None


def stretched(s: Tensor, gamma: float, zeta: float) -> Tensor:
    """clamp(s (zeta - gamma) + gamma, 0, 1)."""
    return (s * (zeta - gamma) + gamma).clamp(0, 1)


def _check_logits(logits: Tensor, validate: bool) -> None:
    check_floating("logits", logits)
    if validate and inspectable() and bool(logits.detach().sum().isnan()):
        nan = int(logits.isnan().sum())
        if nan:
            raise ValueError(
                f"logits: expected numbers, got {nan} NaN among {logits.numel()} of shape "
                f"{tuple(logits.shape)}; look upstream for an overflow"
            )


def check_gate_tau(tau: float) -> None:
    """Refuse a temperature that is not positive: such gates would have no gradient."""
    if not 0 < tau < math.inf:
        raise ValueError(f"tau: expected a temperature > 0, got {tau}; 2/3 is usual")


def check_interval(gamma: float, zeta: float) -> None:
    """Refuse an interval that does not reach beyond [0, 1] at both ends."""
    if not -math.inf < gamma < 0:
        raise ValueError(
            f"gamma: expected a number < 0, so that gates can close, got {gamma}; -0.1 is usual"
        )
    if not 1 < zeta < math.inf:
        raise ValueError(
            f"zeta: expected a number > 1, so that gates can open fully, got {zeta}; 1.1 is usual"
        )
