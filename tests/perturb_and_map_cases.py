"""Solvers, and nodes that integrate estimators over the noise of perturb-and-map exactly."""

import itertools
import math

import numpy as np
import torch
from torch import Tensor

import reparam as rp
from reparam.functional import hard_argmax, hard_topk

DOUBLE = {"dtype": torch.float64}
INF = float("inf")
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def step(z: Tensor) -> Tensor:
    """The vertices {0, 1} of a segment."""
    return (z > 0).to(z)


def corner(z: Tensor) -> Tensor:
    """The vertices (0, 0), (1, 0) and (0, 1) of a triangle."""
    return hard_argmax(torch.cat([torch.zeros_like(z[:, :1]), z], -1))[:, 1:]


def two_of_three(z: Tensor) -> Tensor:
    """The vertices with two ones."""
    return hard_topk(z, 2)


def three_of_six(z: Tensor) -> Tensor:
    """The vertices with three ones, as matrices."""
    return hard_topk(z.flatten(1), 3).view(z.shape)


def leaf(value: object) -> Tensor:
    """In float64, to be differentiated."""
    return torch.tensor(value, **DOUBLE, requires_grad=True)


# Nodes: weights `(rows)` and uniforms `(rows, *event)` that integrate an estimator exactly.


def legendre(low: float, high: float) -> tuple[Tensor, Tensor]:
    """30 nodes and weights on an interval."""
    x, w = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(30))
    return (high - low) / 2 * x + (high + low) / 2, (high - low) / 2 * w


def panels(breaks: list[float]) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the standard normal density, smooth between the breaks."""
    inner = sorted({min(8.0, max(-8.0, b)) for b in (-8, -6, -3, -1.5, 0, 1.5, 3, 6, 8, *breaks)})
    parts = [legendre(*pair) for pair in itertools.pairwise(inner)]
    x, w = (torch.cat(p) for p in zip(*parts, strict=True))
    return x, w * torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)


def step_nodes(theta: float, scale: float) -> tuple[Tensor, Tensor]:
    """Of one normal variable, on both sides of where theta + scale Z = 0."""
    x, w = panels([-theta / scale])
    return w, torch.special.ndtr(x)


def corner_nodes(theta: list[float], scale: float) -> tuple[Tensor, Tensor]:
    """Of two normal variables, on all sides of what decides between the triangle's vertices."""
    weights, nodes = [], []
    for x, w in zip(*panels([-theta[0] / scale]), strict=True):
        best = max(0.0, theta[0] + scale * float(x))
        y, v = panels([(best - theta[1]) / scale])
        nodes.append(torch.stack([x.expand_as(y), y], -1))
        weights.append(w * v)
    return torch.cat(weights), torch.special.ndtr(torch.cat(nodes))


def race_nodes(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Of Gumbel noise -log E, for what is linear in E once the winner of E / exp(logits) is known.

    The winner's time is Exponential(sum exp(logits)), and what each other takes longer is
    exponential again: Gauss-Laguerre, two nodes for each.
    """
    x, w = (torch.from_numpy(a) for a in np.polynomial.laguerre.laggauss(2))
    k, rates = len(logits), logits.detach().exp()
    each = torch.cartesian_prod(*[x] * k).reshape(-1, k)
    chance = torch.cartesian_prod(*[w] * k).reshape(-1, k).prod(-1)
    weights, nodes = [], []
    for winner in range(k):
        later = each.clone()
        later[:, winner] = 0
        nodes.append(later + each[:, winner : winner + 1] / rates.sum() * rates)
        weights.append(chance * rates[winner] / rates.sum())
    return torch.cat(weights), torch.exp(-torch.cat(nodes))


def pairs(weights: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """The same for two independent samples: weights `(rows^2)`, nodes `(2, rows^2, *event)`."""
    i, j = torch.cartesian_prod(*[torch.arange(len(weights))] * 2).T
    both = weights[i] * weights[j]
    i, j = i[both > 1e-16], j[both > 1e-16]
    return weights[i] * weights[j], torch.stack([nodes[i], nodes[j]])


def integrated(estimator, build, leaves, cost, nodes: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Expected value and gradients: every node is a row of one draw."""
    weights, noise = nodes
    rows = [x.expand(len(weights), *x.shape) for x in leaves]
    n = 1 if isinstance(estimator, rp.Relax) else len(noise)
    draw = estimator.draw(build(*rows), n, noise=noise)
    return value_and_gradients((weights * draw.combine(cost(draw.points))).sum(), leaves)


def assert_all_close(got: list[Tensor], truth: list[Tensor]) -> None:
    """To 1e-9."""
    for a, b in zip(got, truth, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def value_and_gradients(value: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Of a scalar with a graph."""
    return [value.detach(), *torch.autograd.grad(value, leaves)]
