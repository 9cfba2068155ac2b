"""What implicit reparameterization needs: values that move at a fixed quantile, and quantiles.

A value x with distribution function F(x; theta) keeps its quantile if it moves by

    dx/dtheta = -(dF/dtheta) / f

(Figurnov et al. 2018, "Implicit Reparameterization Gradients", equation 5, arXiv:1805.08498).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from reparam.checks import inspectable

_CHUNK = 8192

Slopes = Callable[..., tuple[Tensor, ...]]


def at_fixed_quantile(value: Tensor, slopes: Slopes, *parameters: Tensor) -> Tensor:
    """The value as it is, moving by `slopes(value, *parameters)` as the parameters do.

    value: in float64; what gradient it has of its own is dropped. parameters: any that broadcast
        against it, and that may have dimensions in front of it, over which the moves add up.
    slopes: one for each parameter; called by the backward pass, with float64 parameters. Where it
        is differentiable, so is the gradient.
    """
    wide = [p.to(value.dtype) for p in parameters]
    function: type[_Backward] = _AtFixedQuantile
    if torch.compiler.is_compiling():
        # The compiler refuses what has a forward mode, and fails where nothing has a gradient.
        if not (torch.is_grad_enabled() and any(p.requires_grad for p in wide)):
            return value.detach()
        function = _Backward
    moving: Tensor = function.apply(value.detach(), slopes, *wide)  # type: ignore[no-untyped-call]
    return moving


def in_chunks(f: Slopes) -> Slopes:
    """An elementwise function of tensors that broadcast, in chunks that stay in cache."""

    def chunked(*given: Tensor) -> tuple[Tensor, ...]:
        at = torch.broadcast_tensors(*given)  # type: ignore[no-untyped-call]
        if at[0].numel() <= _CHUNK or torch.is_grad_enabled() or not inspectable():
            return f(*at)
        chunks = zip(*(t.flatten().split(_CHUNK) for t in at), strict=True)
        columns = zip(*(f(*chunk) for chunk in chunks), strict=True)
        return tuple(torch.cat(column).view(at[0].shape) for column in columns)

    return chunked


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
        moved = torch.where(far <= high, far, torch.minimum(x + ratio * (log_u - log_f), high))
        # Convergence is quadratic: what is left is the square of the last step.
        done = (moved - x).abs() <= 1e-7 * ratio
        x = moved
        if inspectable() and bool(done.all()):
            break
    return x


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
        _, *parameters = ctx.saved_tensors
        pairs = zip(ctx.slopes(*ctx.saved_tensors), parameters, strict=True)
        return None, None, *((grad * slope).sum_to_size(p.shape) for slope, p in pairs)


class _AtFixedQuantile(_Backward):
    @staticmethod
    def jvp(ctx: Any, value: Tensor, slopes: None, *tangents: Tensor) -> Tensor:
        pairs = zip(ctx.slopes(*ctx.saved_tensors), tangents, strict=True)
        shape = ctx.saved_tensors[0].shape
        moves = [(slope * tangent).sum_to_size(shape) for slope, tangent in pairs]
        return torch.stack(moves).sum(0)
