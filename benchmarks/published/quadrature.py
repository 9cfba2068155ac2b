"""Nodes and weights, in float64."""

import numpy as np
import torch
from torch import Tensor


def legendre(a: float, b: float, count: int) -> tuple[Tensor, Tensor]:
    """For the integral over (a, b): exact for polynomials of degree 2 count - 1."""
    x, w = np.polynomial.legendre.leggauss(count)
    return torch.tensor((b - a) / 2 * (x + 1) + a), torch.tensor((b - a) / 2 * w)


def hermite(count: int) -> tuple[Tensor, Tensor]:
    """For the expectation under N(0, 1)."""
    x, w = np.polynomial.hermite_e.hermegauss(count)
    return torch.tensor(x), torch.tensor(w / w.sum())


def laguerre(count: int) -> tuple[Tensor, Tensor]:
    """For the expectation under Exponential(1)."""
    x, w = np.polynomial.laguerre.laggauss(count)
    return torch.tensor(x), torch.tensor(w / w.sum())
