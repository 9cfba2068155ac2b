"""What implicit reparameterization needs: values that move at a fixed quantile, and quantiles.

A value x with distribution function F(x; theta) keeps its quantile if it moves by

    dx/dtheta = -(dF/dtheta) / f

(Figurnov et al. 2018, "Implicit Reparameterization Gradients", equation 5, arXiv:1805.08498). F is
integrated in a coordinate in which the density f is log-concave, over the tail beyond x, relative
to f at x: there is nothing to cancel, and nothing under- or overflows.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from reparam.checks import inspectable

ENOUGH = 34.0
"""Where a density has fallen by e^-34, what is left of its tail is below rounding."""

_CHUNK = 8192

Slopes = Callable[..., tuple[Tensor, ...]]


def at_fixed_quantile(value: Tensor, slopes: Slopes, *parameters: Tensor) -> Tensor:
    """The value as it is, moving by `slopes(value, *parameters)` as the parameters do.

    Shapes and dtypes are all the same. `slopes` is called by the backward pass; where it is
    differentiable, so is the gradient.
    """
    # The compiler refuses what has a forward mode.
    function = _Backward if torch.compiler.is_compiling() else _AtFixedQuantile
    moving: Tensor = function.apply(value.detach(), slopes, *parameters)  # type: ignore[no-untyped-call]
    return moving


def invert(
    tail: Callable[[Tensor], tuple[Tensor, Tensor]],
    guess: Tensor,
    end: Tensor,
    log_u: Tensor,
    steps: int,
) -> Tensor:
    """The x <= end at which log F(x) = log_u <= log F(end); `tail` gives log F and F / f.

    Newton's method for log(-log F), which is linear where F falls as e^-e^x, and nearly so
    elsewhere; where that would go too far up, for log F, which is concave and never does.
    """
    x, high = torch.minimum(guess, end), end
    for _ in range(steps):
        log_f, ratio = tail(x)
        log_f = log_f.clamp(max=-torch.finfo(x.dtype).tiny)
        high = torch.where(log_f < log_u, high, x)
        far = x + ratio * log_f * torch.log(log_u / log_f)
        x = torch.where(far <= high, far, torch.minimum(x + ratio * (log_u - log_f), high))
    return x


def _chunked(slopes: Slopes, *at: Tensor) -> tuple[Tensor, ...]:
    """The slopes, in chunks whose hundreds of temporary tensors stay in cache."""
    if at[0].numel() <= _CHUNK or torch.is_grad_enabled() or not inspectable():
        return slopes(*at)
    chunks = zip(*(t.flatten().split(_CHUNK) for t in at), strict=True)  # type: ignore[no-untyped-call]
    columns = zip(*(slopes(*chunk) for chunk in chunks), strict=True)
    return tuple(torch.cat(column).view_as(at[0]) for column in columns)


class _Backward(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, slopes: Slopes, *parameters: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.slopes, *parameters = inputs
        ctx.save_for_backward(output, *parameters)
        ctx.save_for_forward(output, *parameters)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(grad * slope for slope in _chunked(ctx.slopes, *ctx.saved_tensors))


class _AtFixedQuantile(_Backward):
    @staticmethod
    def jvp(ctx: Any, value: Tensor, slopes: None, *tangents: Tensor) -> Tensor:
        moves = zip(ctx.slopes(*ctx.saved_tensors), tangents, strict=True)
        return torch.stack([slope * tangent for slope, tangent in moves]).sum(0)
