"""Unordered set: k different outcomes, each weighted by the chance that the set came with it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.checks import check_count
from reparam.core import Draw, Estimator, surrogate
from reparam.families import log_prob, pick, support
from reparam.noise import Noise


@dataclass(frozen=True)
class UnorderedSet(Estimator):
    """sum over s in S of p(s) R(S, s) grad log p(s) [f(s) - sum over s' of p(s') R_s(S, s') f(s')].

    Kool et al. 2020, "Estimating Gradients for Discrete Random Variables by Sampling without
    Replacement", arXiv:2002.06043.

    S holds k outcomes drawn without replacement; R(S, s) = P_s(S - s) / P(S) is the leave-one-out
    ratio, P_s the law of a draw that excludes s, and R_s its ratio of second order, which makes a
    baseline of the same costs (`baseline=False` leaves it out; k = 1 has none). For supports that
    can be enumerated; any cost, at k points for each of the n sets. Unbiased, and exact where k is
    the whole support. noise: `(n, *batch, S)`, for the S outcomes. The ratios take 2^k steps.

    Use it where samples with replacement would often repeat: peaked or small supports.

    >>> from torch.distributions import OneHotCategorical
    >>> UnorderedSet(k=2).draw(OneHotCategorical(logits=torch.zeros(5)), n=3).points.shape
    torch.Size([6, 5])
    """

    k: int = 2
    baseline: bool = True

    unbiased = True
    exact = False
    pathwise = False
    black_box = True

    def __post_init__(self) -> None:
        check_count("k", self.k)
        if self.k > 12:
            raise ValueError(f"k: expected at most 12, since ratios take 2^k steps, got {self.k}")

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        outcomes = support(q)
        k = min(self.k, len(outcomes))
        log_p = log_prob(q, outcomes).detach().movedim(0, -1)
        perturbed = log_p + noise.gumbel(n, log_p)
        chosen = perturbed.topk(k).indices  # (n, *batch, k)
        own = log_p.expand_as(perturbed)
        p = own.gather(-1, chosen).exp()
        others = own.scatter(-1, chosen, -torch.inf).exp().sum(-1)
        ratio, second = _ratios(p, others)
        weight = (p * ratio).movedim(-1, 0)  # (k, n, *batch)
        share = (p.unsqueeze(-2) * second).movedim((-2, -1), (0, 1))  # (k, k, n, *batch)
        points = pick(outcomes, chosen.movedim(-1, 0).flatten(0, 1))

        def combine(costs: Tensor) -> Tensor:
            costs = costs.reshape(k, n, *costs.shape[1:])
            each = log_prob(q, points).reshape(costs.shape)
            base: Tensor | float = 0.0
            if self.baseline and k > 1:
                base = (share.to(costs.dtype) * costs.detach()).sum(1)
            return (weight.to(costs.dtype) * surrogate(costs, each, base)).sum(0).mean(0)

        return Draw(points, combine)


def _ratios(p: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """R(S, s) `(*, k)` and R_s(S, s') `(*, k, k)`, 1 where s' = s.

    p: chances of the chosen `(*, k)`; others: mass of the rest of the domain `(*)`. remaining[C] is
    the chance that, the outcomes C being gone, the rest of S comes next, in any order: by
    recursion from the whole of S. Remaining mass is summed, never 1 - sum, which would cancel;
    impossible outcomes count as barely possible, which keeps every quotient defined.
    """
    p, others = p.double().clamp(min=1e-20), others.double()
    k = p.shape[-1]
    remaining = [torch.ones_like(others)] * 2**k
    for gone in reversed(range(2**k - 1)):
        left = [i for i in range(k) if not gone >> i & 1]
        mass = others + sum(p[..., i] for i in left)
        total = sum(p[..., i] * remaining[gone | 1 << i] for i in left)
        remaining[gone] = total / mass
    first = torch.stack([remaining[1 << i] for i in range(k)], -1)
    rows = [
        torch.stack(
            [remaining[1 << i | 1 << j] if i != j else remaining[1 << i] for j in range(k)], -1
        )
        for i in range(k)
    ]
    return first / remaining[0].unsqueeze(-1), torch.stack(rows, -2) / first.unsqueeze(-1)
