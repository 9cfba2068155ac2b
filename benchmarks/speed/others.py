"""Indices, subsets, permutations and gates, against the code people write today."""

import torch
from benchmarks.speed.measure import Contest, Side
from benchmarks.speed.relaxed import Sampler, both_ways
from torch import Tensor

from reparam import fast
from reparam.functional import (
    gumbel_max,
    gumbel_topk,
    hard_concrete,
    relaxed_topk,
    sample_indices,
    sinkhorn,
)

CLASSES = [(256, 50257), (65536, 64)]
MATRICES = [(64, 10, 10), (64, 50, 50), (8, 200, 200)]
GATES = (784 * 300,)
SUBSETS = (512, 1000)
K = 10
TAU = 0.7
ITERATIONS = 20
COMPILED = {"sinkhorn": "reparam.kernels.sinkhorn.compiled"}


def contests() -> list[Contest]:
    """Each operation at its shapes."""
    found = [indices(shape, n) for n in (1, 16) for shape in CLASSES]
    found += [subset(shape) for shape in CLASSES]
    found += [
        gradients("sinkhorn", "naive", shape, naive_sinkhorn, _balanced) for shape in MATRICES
    ]
    found.append(
        gradients("relaxed_topk", "successive softmax", SUBSETS, successive_softmax, _relaxed)
    )
    found.append(gradients("hard_concrete", "naive", GATES, naive_gates, hard_concrete))
    return found


def indices(shape: tuple[int, ...], n: int) -> Contest:
    """Class indices, n of each row with replacement."""

    def make() -> list[Side]:
        x = torch.randn(shape)
        own = (lambda: gumbel_max(x)) if n == 1 else (lambda: sample_indices(x, n))
        return [
            Side("multinomial(softmax)", lambda: torch.multinomial(x.softmax(-1), n, True)),
            Side("pure torch", own, fast=False),
        ]

    name = "gumbel_max" if n == 1 else f"sample_indices, n={n}"
    return Contest(name, shape, make)


def subset(shape: tuple[int, ...]) -> Contest:
    """Class indices, K of each row without replacement."""

    def make() -> list[Side]:
        x = torch.randn(shape)
        return [
            Side("multinomial(softmax)", lambda: torch.multinomial(x.softmax(-1), K)),
            Side("pure torch", lambda: gumbel_topk(x, K), fast=False),
        ]

    return Contest(f"gumbel_topk, k={K}", shape, make)


def gradients(
    operation: str, standard: str, shape: tuple[int, ...], theirs: Sampler, ours: Sampler
) -> Contest:
    """Forward and backward of both."""

    def make() -> list[Side]:
        x, w = torch.randn(shape, requires_grad=True), torch.randn(shape)
        own = both_ways(ours, x, w)
        sides = [Side(standard, both_ways(theirs, x, w)), Side("pure torch", own, fast=False)]
        if operation in COMPILED and fast.kernel(COMPILED[operation]):
            sides.append(Side("[fast]", own, fast=True))
        return sides

    return Contest(operation, shape, make)


def naive_sinkhorn(x: Tensor) -> Tensor:
    """Alternate normalizations of logarithms, differentiated by autograd."""
    x = x / TAU
    for _ in range(ITERATIONS):
        x = x - x.logsumexp(-1, keepdim=True)
        x = x - x.logsumexp(-2, keepdim=True)
    return x.exp()


def successive_softmax(x: Tensor) -> Tensor:
    """Relaxed k-hot vectors of Xie & Ermon 2019, arXiv:1901.10517, algorithm 2."""
    z = x - torch.empty_like(x).exponential_().log()
    k_hot, one_hot = torch.zeros_like(x), torch.zeros_like(x)
    for _ in range(K):
        z = z + (1 - one_hot).clamp_min(1e-20).log()
        one_hot = torch.softmax(z / TAU, -1)
        k_hot = k_hot + one_hot
    return k_hot


def naive_gates(x: Tensor, tau: float = 2 / 3, gamma: float = -0.1, zeta: float = 1.1) -> Tensor:
    """The formulas of Louizos et al. 2018, as they stand."""
    u = torch.rand_like(x).clamp(1e-6, 1 - 1e-6)
    s = torch.sigmoid((u.log() - (1 - u).log() + x) / tau)
    return (s * (zeta - gamma) + gamma).clamp(0, 1)


def _balanced(x: Tensor) -> Tensor:
    return sinkhorn(x, TAU, ITERATIONS)[0]


def _relaxed(x: Tensor) -> Tensor:
    return relaxed_topk(x, K, TAU)
