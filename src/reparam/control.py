"""Control variates: how they enter a gradient, and how their own parameters learn.

A control variate's parameters are trained to make the gradient small in mean square. That
objective reaches them alone: neither q nor the cost is moved by it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from reparam.core import surrogate_gradient
from reparam.families import Family, zero_carrying


def alongside(value: Tensor, objective: Tensor) -> Tensor:
    """`value`, whose backward pass also descends `objective` (same shape), for control variates.

    The objective is weighted by the *size* of the gradient that arrives at `value`: a caller who
    maximizes (negates) the result still trains the control variate downhill.
    """
    return _Alongside.apply(value, objective)  # type: ignore[no-any-return, no-untyped-call]


class _Alongside(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, objective: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, grad.abs()


def steered(value: Tensor, objective: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """`value`, whose backward pass also descends the mean of `objective`, in `parameters` alone.

    value: `(*batch)`. objective: the squared gradient of each batch row, `(*batch)`.
    """
    learned = [p for p in parameters if p.requires_grad]
    if not learned or not objective.requires_grad:
        return value
    slopes = torch.autograd.grad(objective.mean(), learned, allow_unused=True, retain_graph=True)
    pairs = zip(slopes, learned, strict=True)
    carrier = torch.stack([(g * p).sum().to(value.dtype) for g, p in pairs if g is not None]).sum()
    return alongside(value, carrier.expand_as(value))


def derivative(costs: Tensor, points: Tensor) -> Tensor:
    """d cost / d point for every point `(P, *batch, *event)`, detached; zeros without grad mode."""
    if not torch.is_grad_enabled():
        return torch.zeros_like(points)
    check_differentiable(costs)
    (slope,) = torch.autograd.grad(costs.sum(), points, retain_graph=True, allow_unused=True)
    return torch.zeros_like(points) if slope is None else slope


def check_differentiable(costs: Tensor) -> None:
    """Refuse costs from a black box, where their derivative is needed."""
    if torch.is_grad_enabled() and not costs.requires_grad:
        raise ValueError(
            "costs: expected a differentiable function of the points, got one without a gradient; "
            "use 'rloo', 'disarm' or 'relax' for black-box costs"
        )


def controlled(
    q: Distribution,
    family: Family,
    trace: Tensor,
    *,
    costs: Tensor,
    control: tuple[Tensor, Tensor],
    parameters: Sequence[nn.Parameter],
) -> Tensor:
    """The value and gradient of REBAR and RELAX, `(*batch)`.

    [f(b) - c(z~)] grad log q(t) + grad c(z) - grad c(z~), averaged over the n samples.
    trace: t, `(n, *batch, ...)`, of the perturbed logits z and of fresh ones z~. costs: f(b),
    `(n, *batch)`, b the points. control: c(z) and c(z~), `(n, *batch)`, functions of
    `family.logits` and of the parameters that minimize the variance.
    """
    value = costs.mean(0)
    if not (torch.is_grad_enabled() and family.logits.requires_grad):
        return value
    free, conditioned = control
    # One vector-Jacobian product. As a cotangent, the weight of the score is not differentiated
    # in the logits, yet stays a function of the control variate's parameters.
    weights = (costs.detach() - conditioned, torch.ones_like(free))
    (gradient,) = torch.autograd.grad(
        (family.trace_log_prob(trace), free - conditioned),
        family.logits,
        tuple(w.to(free.dtype) / len(trace) for w in weights),
        create_graph=any(p.requires_grad for p in parameters),
        retain_graph=True,
    )
    carrier = gradient.detach() * zero_carrying(family.logits)
    value = surrogate_gradient(value, _row_sum(carrier, q))
    return steered(value, _row_sum(gradient.square(), q), parameters)


def _row_sum(values: Tensor, q: Distribution) -> Tensor:
    """`(*batch, *own)` -> `(*batch)`."""
    dims = tuple(range(len(q.batch_shape), values.ndim))
    return values.sum(dims) if dims else values
