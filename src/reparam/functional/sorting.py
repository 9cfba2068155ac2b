"""Relaxed sorting: row-stochastic matrices from scores, row i for the i-th largest."""

import torch
from torch import Tensor

from reparam.checks import check_floating, check_tau, inspectable, working_dtype
from reparam.functional.logits import broadcasts
from reparam.functional.soften import soft_argmax, straight_through


def soft_sort(scores: Tensor, tau: float | Tensor = 1.0, hard: bool = False) -> Tensor:
    """SoftSort: P[i, j] = softmax over j of -|s_(i) - s_j| / tau, s_(i) the i-th largest of s.

    Prillo & Eisenschlos 2020, "SoftSort: a continuous relaxation for the argsort operator",
    arXiv:2006.16038, with the distance |x - y|.

    Returns matrices `(*batch, n, n)` whose rows sum to 1 and peak at the i-th largest score; as tau
    falls to 0, the permutation matrix that sorts the scores in descending order. Equal scores share
    their rows equally, and |x| has slope 0 at 0. Computed in float32 (float64 for float64).

    scores: `(*batch, n)`; a score of -inf comes last.
    tau: temperature >= 0: a float, or a tensor that broadcasts against the batch shape, and may be
        learned. 0 gives the permutation matrix, whose gradient is zero.
    hard: return the permutation matrix, with the gradient of the relaxed one. It takes equal
        scores in the order of their indices.

    >>> soft_sort(torch.tensor([1.0, 3.0, 2.0]), hard=True)
    tensor([[0., 1., 0.],
            [0., 0., 1.],
            [1., 0., 0.]])
    """
    s = _checked(scores, tau)
    ordered, order = s.sort(dim=-1, descending=True, stable=True)
    z = -(ordered.unsqueeze(-1) - s.unsqueeze(-2)).abs()
    return _softened(z, order, tau, hard).to(scores.dtype)


def neural_sort(scores: Tensor, tau: float | Tensor = 1.0, hard: bool = False) -> Tensor:
    """NeuralSort: P[i, j] = softmax over j of ((n + 1 - 2i) s_j - sum_k |s_j - s_k|) / tau.

    Grover et al. 2019, "Stochastic optimization of sorting networks via continuous relaxations",
    arXiv:1903.08850; i counts from 1.

    Takes and returns what `soft_sort` does. Every row depends on every score.

    >>> neural_sort(torch.tensor([1.0, 3.0, 2.0])).argmax(-1)
    tensor([1, 2, 0])
    """
    s = _checked(scores, tau)
    ordered, order = s.detach().sort(dim=-1, descending=True, stable=True)
    by_rank = _below_the_peak(ordered)
    rank = order.argsort(-1).unsqueeze(-2)
    z = by_rank.gather(-1, rank.expand(by_rank.shape)) + _slope_carrying(s)
    return _softened(z, order, tau, hard).to(scores.dtype)


def _below_the_peak(ordered: Tensor) -> Tensor:
    """NeuralSort's exponents of sorted scores, minus their maximum: exactly 0 at column i of row i.

    From rank t to t + 1, row i's exponent changes by (2(i - t) - 1) (s_(t) - s_(t+1)). Summed away
    from the diagonal, these all have one sign: nothing cancels, overflows to NaN, or loses the
    small differences of scores beside large ones.
    """
    n = ordered.shape[-1]
    place = torch.arange(n, device=ordered.device)
    steps = (2 * (place.unsqueeze(-1) - place[:-1]) - 1) * -ordered.diff(dim=-1).unsqueeze(-2)
    rightwards = steps.triu().cumsum(-1)
    leftwards = steps.tril(-1).flip(-1).cumsum(-1).flip(-1)
    pad = torch.nn.functional.pad
    return pad(rightwards, (1, 0)) - pad(leftwards, (0, 1))


def _slope_carrying(s: Tensor) -> Tensor:
    """Zeros `(*batch, n, n)` with the gradient of NeuralSort's exponents."""
    n = s.shape[-1]
    zero = s - s.detach()
    differences = zero.unsqueeze(-1) - zero.unsqueeze(-2)
    sign = (s.unsqueeze(-1) - s.unsqueeze(-2)).detach().sign()
    weight = torch.arange(n - 1, -n, -2, dtype=s.dtype, device=s.device)
    return weight.unsqueeze(-1) * zero.unsqueeze(-2) - (sign * differences).sum(-1).unsqueeze(-2)


def _softened(z: Tensor, order: Tensor, tau: float | Tensor, hard: bool) -> Tensor:
    permutation = torch.zeros_like(z).scatter(-1, order.unsqueeze(-1), 1.0)
    # The rows of a matrix share its temperature.
    tau = torch.as_tensor(tau, dtype=z.dtype, device=z.device).unsqueeze(-1)
    y = torch.where(tau.unsqueeze(-1) == 0, permutation, soft_argmax(z, tau))
    return straight_through(permutation, y) if hard else y


def _checked(scores: Tensor, tau: float | Tensor) -> Tensor:
    """The scores in the working dtype, finite: -inf becomes the least number."""
    check_floating("scores", scores)
    check_tau(tau)
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise ValueError(
            f"scores: expected at least one along the last dimension, got shape "
            f"{tuple(scores.shape)}"
        )
    batch = scores.shape[:-1]
    if isinstance(tau, Tensor) and not broadcasts(tau.shape, batch):
        raise ValueError(
            f"tau: expected a shape that broadcasts to the batch shape {tuple(batch)} (a matrix "
            f"has one temperature), got {tuple(tau.shape)}"
        )
    if inspectable() and scores.numel() and not bool(scores.detach().amax() < torch.inf):
        nan, inf = int(scores.isnan().sum()), int((scores == torch.inf).sum())
        raise ValueError(
            f"scores: expected finite values or -inf, got {nan} NaN and {inf} +inf among "
            f"{scores.numel()} of shape {tuple(scores.shape)}; look upstream for an overflow"
        )
    wide = scores.to(working_dtype(scores.dtype))
    return wide.clamp(min=torch.finfo(wide.dtype).min)
