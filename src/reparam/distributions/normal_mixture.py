"""How the samples of a mixture of normals move: in closed form, in one pass over components."""

from math import pi

import torch
from torch import Tensor
from torch.distributions import Normal

from reparam.checks import inspectable
from reparam.special.implicit import at_fixed_quantile

_IN_CACHE = 2**16
"""How many numbers are worked on at once."""


def move_with_normals(x: Tensor, weights: Tensor, components: Normal) -> Tensor:
    """Samples x `(n, *batch)` of a mixture as they are, at a fixed quantile; in float64.

    weights: `(*batch, K)`, which sum to 1 whatever they depend on; components: of the same batch
    shape. With component k's distribution function F_k, density p_k and z_k = (x - m_k) / s_k,

        p dx = sum_k w_k p_k (dm_k + z_k ds_k) - F_k dw_k

    where p is the mixture's density (Figurnov et al. 2018, "Implicit Reparameterization
    Gradients", section 3, arXiv:1805.08498).
    """
    # Components in front: short inner loops are slow.
    parameters = [
        p.double().movedim(-1, 0).unsqueeze(1) for p in (weights, components.loc, components.scale)
    ]
    # In chunks that stay in cache.
    rows = max(1, _IN_CACHE // max(1, weights.numel())) if inspectable() else len(x)
    return torch.cat([at_fixed_quantile(some, _slopes, *parameters) for some in x.split(rows)])  # type: ignore[no-untyped-call]


def _slopes(x: Tensor, w: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    z = (x - loc) / scale
    share = (z * z).mul_(-0.5).exp_() * (w / (scale * (2 * pi) ** 0.5))
    p = share.sum(0)
    p = p.masked_fill(p == 0, torch.inf)  # underflown: too far out to move
    by_loc = share / p
    # F_k - 1/2, as the dw_k add up to 0.
    return (z * 0.5**0.5).erf_() / (-2 * p), by_loc, z * by_loc
