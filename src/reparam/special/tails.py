"""Integrals over the tail of a density: of what falls from one end of an interval to the other."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from reparam.special.quadrature import legendre_rule

_IN_CACHE = 2**16
"""How many numbers are worked on at once."""


class Rule(NamedTuple):
    """Nodes `(nodes,)` and weights `(2, nodes)` on (0, 1), in float64.

    For what falls by e^-nats from 0 to 1. The second weights are those of the first moment.
    """

    nodes: Tensor
    weights: Tensor
    nats: float


def _rule(n: int, nats: float) -> Rule:
    """Gauss and Legendre's in t, the nodes at 0.6 t + 0.4 t^2: closer where the integrand is large.

    Which saves a third of them.
    """
    t, weights = torch.tensor(legendre_rule(n), dtype=torch.float64).unbind(-1)
    nodes, weights = (0.6 + 0.4 * t) * t, (0.6 + 0.8 * t) * weights
    return Rule(nodes, torch.stack([weights, weights * nodes]), nats)


FINE = _rule(28, 34.0)
"""To 1e-13 for log-concave integrands, from the log-linear to the normal ones."""

COARSE = _rule(14, 20.0)
"""The same to 3e-8."""


def rule_for(dtype: torch.dtype) -> Rule:
    """What the digits of parameters ask for; the arithmetic is in float64."""
    return FINE if dtype == torch.float64 else COARSE


def tail_integrals(
    f: Callable[[Tensor], tuple[Tensor, ...]], reach: Tensor, rule: Rule
) -> list[tuple[Tensor, Tensor]]:
    """The integrals of each value of f(r) from 0 to reach, and of r times it.

    f: points `(nodes, *shape)` -> values of that shape. reach: `(*shape)`, of either sign. Plain
    operations, differentiable in all that they touch.
    """
    nodes, weights = rule.nodes.to(reach).view(-1, *[1] * reach.ndim), rule.weights.to(reach)
    at_once = len(nodes)
    if not torch.compiler.is_compiling():
        at_once = max(1, _IN_CACHE // max(1, reach.numel()))
    sums = [
        [torch.tensordot(share, value, dims=1) for value in f(some * reach)]
        for some, share in zip(nodes.split(at_once), weights.split(at_once, 1), strict=True)  # type: ignore[no-untyped-call]
    ]
    return [
        (reach * mass, reach * reach * first)
        for mass, first in (torch.stack(parts).sum(0) for parts in zip(*sums, strict=True))
    ]
