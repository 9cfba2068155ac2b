"""Quadrature rules in several dimensions, and their weights beside the rows of q."""

import torch
from torch import Tensor
from torch.distributions import Distribution


def gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on (0, 1), by the eigenvalues of the Jacobi matrix (Golub & Welsch)."""
    k = torch.arange(1, count, dtype=torch.float64)
    off = k / (4 * k**2 - 1).sqrt()
    values, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return (values + 1) / 2, vectors[0].square()


def grid(axis: Tensor, dims: int) -> Tensor:
    """Every point `(N, dims)` of the product of an axis with itself."""
    return torch.cartesian_prod(*[axis] * dims).reshape(-1, dims)


def every_tuple(chances: Tensor, u: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Weights and noise `(n, rows, ...)` of every n of some nodes `(S, ...)`."""
    index = torch.cartesian_prod(*[torch.arange(len(chances))] * n).reshape(-1, n)
    return chances[index].prod(1), u[index].transpose(0, 1)


def per_row(weights: Tensor, q: Distribution) -> Tensor:
    """Weights `(N,)` for every row of q: `(N, *batch)`."""
    return weights.reshape(-1, *[1] * len(q.batch_shape)).expand(-1, *q.batch_shape)
