"""ZGR: straight-through and score function in equal parts."""

from dataclasses import dataclass

import torch
from torch.distributions import Distribution

from reparam.core import Draw, Estimator, average
from reparam.families import classes, family
from reparam.functional import straight_through
from reparam.noise import Noise


@dataclass(frozen=True)
class ZGR(Estimator):
    """D ~ q forward; backward the gradient of (p + (D - p) log p_D) / 2, its factor (D - p) fixed.

    Hooper & Shekhovtsov 2026, AISTATS; the estimator is due to Shekhovtsov 2023, "Cold Analysis
    of Rao-Blackwellized Straight-Through Gumbel-Softmax Gradient Estimator".

    p = softmax(logits). Exactly unbiased for every quadratic cost, biased beyond; nothing to
    tune, one cost evaluation.

    Use it as `ReinMax`, where a temperature should not have to be chosen.

    >>> from torch.distributions import OneHotCategorical
    >>> ZGR().draw(OneHotCategorical(logits=torch.zeros(3)), n=2).points.sum(-1).tolist()
    [1.0, 1.0]
    """

    unbiased = False
    exact = False
    pathwise = True
    black_box = False

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        f, c = family(q), classes(q)
        hard = f.hard(f.perturb(n, noise))
        onehot = c.to_onehot(hard)
        log_p = torch.log_softmax(c.logits, -1)
        p = log_p.exp()
        chosen = log_p.expand(onehot.shape).gather(-1, onehot.argmax(-1, keepdim=True))
        soft = (p + (onehot - p).detach() * chosen) / 2
        return Draw(straight_through(hard, c.from_onehot(soft).to(hard.dtype)), average)
