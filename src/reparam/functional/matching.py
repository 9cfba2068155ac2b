"""The best assignment: what Sinkhorn's relaxed permutations tend to."""

import torch
from torch import Tensor

from reparam.checks import check_floating, inspectable


def matching(scores: Tensor) -> Tensor:
    """M(scores): permutation matrices with the largest sum of scores, `(*batch, n, n)`.

    Mena et al. 2018, "Learning latent permutations with Gumbel-Sinkhorn networks",
    arXiv:1802.08665. Of scores + Gumbel noise, it is a Gumbel-Matching sample. Solved on the CPU,
    in float64, by SciPy: `pip install 'reparam[structured]'`.

    scores: `(*batch, n, n)`; -inf forbids a pair.

    Without a gradient; of `sinkhorn`, `straight_through` can lend it one.

    >>> matching(torch.tensor([[3.0, 2.0], [2.0, 0.0]]))
    tensor([[0., 1.],
            [1., 0.]])
    """
    check_floating("scores", scores)
    if scores.ndim < 2 or scores.shape[-1] != scores.shape[-2]:
        raise ValueError(
            f"scores: expected square matrices (*batch, n, n), got shape {tuple(scores.shape)}"
        )
    if inspectable() and scores.numel() and not bool(scores.detach().amax() < torch.inf):
        nan, inf = int(scores.isnan().sum()), int((scores == torch.inf).sum())
        raise ValueError(
            f"scores: expected finite values or -inf, got {nan} NaN and {inf} +inf among "
            f"{scores.numel()} of shape {tuple(scores.shape)}; look upstream for an overflow"
        )
    matrices: Tensor = _matching(scores.detach())
    return matrices


@torch.library.custom_op("reparam::matching", mutates_args=())
def _matching(scores: Tensor) -> Tensor:
    """An operation of its own: the compiler and vmap need not look into SciPy."""
    try:
        from scipy.optimize import linear_sum_assignment  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise ImportError(
            "matching needs scipy, which is missing: pip install 'reparam[structured]'"
        ) from missing
    n = scores.shape[-1]
    flat = scores.double().cpu().reshape(scores.shape[:-2].numel(), n, n)
    columns = torch.empty(flat.shape[:-1], dtype=torch.int64)
    try:
        for row, matrix in zip(columns, flat, strict=True):
            row.copy_(torch.from_numpy(linear_sum_assignment(matrix, maximize=True)[1]))
    except ValueError as infeasible:
        raise ValueError(
            "scores: expected matrices that allow a permutation each, got one whose pairs above "
            "-inf hold none; allow more pairs"
        ) from infeasible
    columns = columns.view(*scores.shape[:-1], 1).to(scores.device)
    return scores.new_zeros(scores.shape).scatter_(-1, columns, 1.0)


@_matching.register_fake
def _(scores: Tensor) -> Tensor:
    return scores.new_empty(scores.shape)


@_matching.register_vmap
def _(info: object, in_dims: tuple[int], scores: Tensor) -> tuple[Tensor, int]:
    return _matching(scores.movedim(in_dims[0], 0)), 0
