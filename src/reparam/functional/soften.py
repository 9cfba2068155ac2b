"""The argmax and its tempered versions: hard, soft, and hard with a soft gradient."""

from typing import Any

import torch
from torch import Tensor

from reparam.checks import inspectable, working_dtype
from reparam.functional.logits import broadcasts


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard`, the gradient of `soft`; any shape, the same for both.

    >>> soft = torch.tensor([0.3, 0.7], requires_grad=True)
    >>> straight_through(torch.tensor([0.0, 1.0]), soft).tolist()
    [0.0, 1.0]
    """
    if hard.shape != soft.shape:
        raise ValueError(
            f"straight_through: expected tensors of one shape, got hard {tuple(hard.shape)} and "
            f"soft {tuple(soft.shape)}"
        )
    # Added to `hard` as an exact zero: (hard + soft) - soft would leave a rounding error.
    return hard.detach() + (soft - soft.detach())


def hard_argmax(z: Tensor, dim: int = -1) -> Tensor:
    """One-hot of the largest entry along `dim` (the first, among equals); no gradient."""
    z = z.detach()
    return torch.zeros_like(z).scatter(dim, z.argmax(dim, keepdim=True), 1.0)


def soft_argmax(z: Tensor, tau: float | Tensor, dim: int = -1) -> Tensor:
    """softmax(z / tau) along `dim`, finite for every tau >= 0, also in its gradients.

    tau: see `gumbel_softmax`. At 0, the one-hot argmax with zero gradient.
    """
    wide = z.to(working_dtype(z.dtype))
    divisor = beside_classes(torch.as_tensor(tau, dtype=wide.dtype, device=z.device), z, dim)
    y = _tempered_softmax(wide, divisor, dim)
    if bool((divisor == 0).any()) if inspectable() else isinstance(tau, Tensor) or tau == 0:
        # `where` keeps z in the graph: an annealed loss still runs backward when tau arrives at 0.
        y = torch.where(divisor == 0, hard_argmax(wide, dim), y)
    return y.to(z.dtype)


def soft_step(z: Tensor, tau: float | Tensor) -> Tensor:
    """sigmoid(z / tau), the two-class `soft_argmax` of [z, 0]; tau broadcasts against z."""
    if isinstance(tau, Tensor):
        tau = tau.expand(z.shape)
    pair = torch.stack([z, torch.zeros_like(z)], -1)
    return soft_argmax(pair, tau)[..., 0]


def _tempered_softmax(z: Tensor, tau: Tensor, dim: int) -> Tensor:
    # Below the smallest normal number the soft sample is the one-hot already, and at infinity an
    # excluded class would be inf / inf.
    limits = torch.finfo(z.dtype)
    tau = tau.clamp(limits.tiny, limits.max)
    # The compiler refuses functions with a forward-mode rule, and has no need of one.
    function = _TemperedSoftmax if torch.compiler.is_compiling() else _ForwardTemperedSoftmax
    y: Tensor = function.apply(z, tau, dim)  # type: ignore[no-untyped-call]
    return y


class _TemperedSoftmax(torch.autograd.Function):
    """softmax(z / tau) from y alone: no quotient by tau is formed that could overflow to NaN."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, tau: Tensor, dim: int) -> Tensor:
        drop = z - z.amax(dim, keepdim=True)
        if not inspectable():
            return torch.softmax(drop / tau, dim)
        return torch.softmax(drop.div_(tau), dim, out=drop)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
        _, tau, ctx.dim = inputs
        ctx.save_for_backward(output, tau)
        ctx.save_for_forward(output, tau)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        y, tau = ctx.saved_tensors
        grad_z = grad * y
        total = grad_z.sum(ctx.dim, keepdim=True)
        if inspectable() and not torch.is_grad_enabled():  # no second derivative: in place
            grad_z.addcmul_(y, total, value=-1).div_(tau)
            if not ctx.needs_input_grad[1]:
                return grad_z, None, None
            # Where y is 0, so is the gradient beside it.
            log_y = y.clamp(min=torch.finfo(y.dtype).tiny).log_()
            return grad_z, -log_y.mul_(grad_z).sum_to_size(tau.shape), None
        grad_z = torch.addcmul(grad_z, y, total, value=-1) / tau
        grad_tau = None
        if ctx.needs_input_grad[1]:
            # (z - max)/tau and log y differ by a constant per row, and grad_z sums to 0 there.
            grad_tau = -(grad_z * _log_or_zero(y)).sum_to_size(tau.shape)
        return grad_z, grad_tau, None


class _ForwardTemperedSoftmax(_TemperedSoftmax):
    """The same, with its forward-mode rule."""

    @staticmethod
    def jvp(ctx: Any, z_t: Tensor | None, tau_t: Tensor | None, _: None) -> Tensor:
        y, tau = ctx.saved_tensors
        rate = torch.zeros_like(y) if z_t is None else z_t
        if tau_t is not None:
            rate = rate - _log_or_zero(y) * tau_t
        tangent: Tensor = y * (rate - (rate * y).sum(ctx.dim, keepdim=True)) / tau
        return tangent


def _log_or_zero(y: Tensor) -> Tensor:
    positive = y > 0
    return torch.where(positive, torch.where(positive, y, 1).log(), 0)


def beside_classes(tau: Tensor, z: Tensor, dim: int) -> Tensor:
    """Give tau a class dimension of size 1, once it is seen to fit the batch shape."""
    dim %= z.ndim
    batch = (*z.shape[:dim], *z.shape[dim + 1 :])
    if tau.ndim == 0:
        return tau
    if not broadcasts(tau.shape, batch):
        raise ValueError(
            f"tau: expected a shape that broadcasts to the batch shape {batch} (the classes "
            f"share one temperature), got {tuple(tau.shape)}"
        )
    return tau.expand(batch).unsqueeze(dim)
