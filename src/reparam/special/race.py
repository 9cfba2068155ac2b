"""The exponential race: n classes arrive at rates exp(logits), each after an Exponential time.

Who arrives first is categorical, the order of arrival is Plackett-Luce, and the first k are a
sample without replacement. Their laws are integrals over one time, here over its logarithm.
"""

from math import ceil, log, sqrt

import torch
from torch import Tensor
from torch.nn.functional import pad

EARLY = -30.0  # log-times before which 1 - exp(-e^v) is e^v to the last digit
LATE = 6.0  # and after which it is 1


def log_chance_of_first(chosen: Tensor, rest: Tensor) -> Tensor:
    """log P(k chosen classes all arrive before any other), `(*)`, however unlikely.

    chosen: their logits `(*, k)`. rest: the log of the others' total rate `(*)`. Both finite. To
    1e-11 relative to the larger of 1 and the result in float64, and so is its gradient.
    """
    gap = chosen - rest.unsqueeze(-1)
    y, log_weight = _log_times(gap.shape[-1], gap)
    # At the time e^y / rest, the first of the others arrives, and the chosen have done so.
    arrived = _log_arrived(gap.unsqueeze(-1) + y).sum(-2)
    return torch.logsumexp(log_weight + y - y.exp() + arrived, -1)


def chances_among_first(logits: Tensor, k: int) -> Tensor:
    """P(a class is among the k that arrive first), `(*, n)`, which sum to k.

    logits: `(*, n)`, at least k of them finite; -inf never arrives. To 1e-12 in float64, with its
    gradient. In 2 n steps of k numbers for each of about 100 times.
    """
    ranked = logits.detach().sort(-1, descending=True).values
    start = torch.logaddexp(ranked[..., k - 1 : k], ranked[..., k:].logsumexp(-1, keepdim=True))
    y, log_weight = _log_times(k, logits)
    v = ((logits - start).unsqueeze(-1) + y).clamp(max=LATE)
    fewer = _fewer_of_the_others(-torch.expm1(-v.exp()), k)
    # Classes faster than all that compete for the k-th place may have arrived before every y: there
    # `fewer` is 1, and what is missing from 1 is integrated.
    fast = (logits.detach() > start).to(logits.dtype)
    density = torch.exp(log_weight + v - v.exp())
    return fast + (density * (fewer - fast.unsqueeze(-1))).sum(-1)


def _log_times(k: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes y and log-weights, `(N,)`, of a rule for what e^y times a rate decides, k arrivals.

    Integrands are entire in y. They rise at least as e^y, peak where e^y is at most k + 1, and fall
    as exp(-e^y). A trapezoid rule in s, y = last - e^s, converges exponentially, with steps
    that widen towards the past as its weight falls, and shrink with the peak, which narrows as
    1 / sqrt(k).
    """
    last = 1 + log(k + 41 + 9 * sqrt(k + 1))
    ends = 0.0, log(last + 37)
    nodes = 1 + ceil((ends[1] - ends[0]) / (0.035 * min(1, sqrt(30 / k))))
    s = torch.linspace(*ends, nodes, dtype=torch.float64, device=like.device)
    log_weight = s + log((ends[1] - ends[0]) / (nodes - 1))
    return (last - s.exp()).to(like.dtype), log_weight.to(like.dtype)


def _log_arrived(v: Tensor) -> Tensor:
    """log(1 - exp(-e^v)), of the chance of an arrival by a time of logarithm v; finite slopes."""
    early = v < EARLY
    late = v.masked_fill(early, 0).clamp(max=LATE)
    return torch.where(early, v, torch.log(-torch.expm1(-late.exp())))


def _fewer_of_the_others(arrived: Tensor, k: int) -> Tensor:
    """P(fewer than k others have arrived) by class and time, `(*, n, N)`, of each one's chance.

    A Poisson-binomial law without each class: of those before it and of those after it, as sums of
    products that are all positive.
    """
    classes = arrived.unbind(-2)
    before, after = _counts(classes, k), _counts(classes[::-1], k)[::-1]
    pairs = zip(before, after, strict=True)
    return torch.stack([(b * a.cumsum(-1).flip(-1)).sum(-1) for b, a in pairs], -2)


def _counts(chances: tuple[Tensor, ...], k: int) -> list[Tensor]:
    """The laws `(*, N, k)` of how many classes, 0 to k - 1, have arrived before each in turn."""
    law = pad(torch.ones_like(chances[0]).unsqueeze(-1), (0, k - 1))
    laws = []
    for p in (chance.unsqueeze(-1) for chance in chances):
        laws.append(law)
        law = law * (1 - p) + pad(law[..., :-1], (1, 0)) * p
    return laws
