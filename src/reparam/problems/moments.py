"""Bias and variance of an estimator on a reference problem: exactly, or from many draws."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.core import Estimator
from reparam.estimators import GumbelRao, Imle, MeasureValued, Rebar, Relax
from reparam.families import family, is_discrete
from reparam.problems.nodes import control_grid, nodes
from reparam.problems.problem import Problem
from reparam.problems.traces import noise_event


@dataclass(frozen=True)
class Moments:
    """Of one draw's gradient in all of q's parameters, all batch rows together.

    bias: Euclidean norm of E[g] - gradient. variance: trace of the covariance.
    variance_error: standard error of the variance; 0 where it is exact.
    """

    bias: float
    variance: float
    variance_error: float = 0.0


def exact_moments(estimator: Estimator, problem: Problem, n: int) -> Moments | None:
    """By enumeration and quadrature; None where that would take too many nodes."""
    q = problem.q()
    noise: Tensor | None
    if isinstance(estimator, Rebar | Relax):
        if q.event_shape.numel() > 1:
            return None
        weights, noise = control_grid(q)
    elif _has_many_parts(estimator, q):
        return None
    else:
        weights, noise = nodes(estimator, q, n)
    bias, variance = torch.zeros(()), torch.zeros(())
    for gradient, truth in _gradients(estimator, problem, n, len(weights), noise=noise):
        w = weights.reshape(*weights.shape, *[1] * (gradient.ndim - weights.ndim))
        mean = (w * gradient).sum(0)
        bias = bias + (mean - truth).square().sum()
        variance = variance + (w * (gradient - mean).square()).sum()
    return Moments(bias.sqrt().item(), variance.item())


def sampled_moments(
    estimator: Estimator, problem: Problem, n: int, draws: int, generator: torch.Generator
) -> Moments:
    """From independent draws, as the batch rows of one."""
    squares, bias = torch.zeros(draws, dtype=torch.float64), torch.zeros(())
    for gradient, truth in _gradients(estimator, problem, n, draws, generator=generator):
        centred = gradient - gradient.mean(0)
        squares = squares + centred.square().flatten(1).sum(-1)
        bias = bias + (gradient.mean(0) - truth).square().sum()
    return Moments(bias.sqrt().item(), squares.mean().item(), squares.std().item() / draws**0.5)


def _has_many_parts(estimator: Estimator, q: Distribution) -> bool:
    """Whether the gradient depends on several sources of noise at once."""
    if is_discrete(q) and not family(q).tractable:
        return True
    if isinstance(estimator, MeasureValued):
        return not is_discrete(q)
    if isinstance(estimator, Imle) or (isinstance(estimator, GumbelRao) and estimator.k > 1):
        return True
    # A relaxation depends on every number of its noise.
    return bool(estimator.anneals) and is_discrete(q) and noise_event(q).numel() > 3


def _gradients(
    estimator: Estimator,
    problem: Problem,
    n: int,
    rows: int,
    *,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> list[tuple[Tensor, Tensor]]:
    """For each parameter: its gradient in every row, `(rows, *batch, *own)`, and the exact one."""
    params = {
        name: value.detach().expand(rows, *value.shape).clone().requires_grad_()
        for name, value in problem.params.items()
    }
    draw = estimator.draw(problem.build(params), n, noise=noise, generator=generator)
    value = draw.combine(problem.cost(draw.points, problem.weight.detach()))
    found = torch.autograd.grad(value.sum(), list(params.values()))
    truth = torch.autograd.grad(problem.exact().sum(), list(problem.params.values()))
    return list(zip(found, truth, strict=True))
