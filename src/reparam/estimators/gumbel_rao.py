"""Gumbel-Rao: straight-through Gumbel-Softmax, averaged over the noise given the sample."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.checks import check_count, check_tau
from reparam.core import Draw, Estimator, average
from reparam.families import family, zero_carrying
from reparam.functional import straight_through
from reparam.noise import Noise


@dataclass(frozen=True)
class GumbelRao(Estimator):
    """D ~ q forward; backward the mean over k perturbations z | D of the gradient of soft(z, tau).

    Paulus et al. 2021, "Rao-Blackwellizing the Straight-Through Gumbel-Softmax Gradient
    Estimator", arXiv:2010.04838.

    The same mean as `StraightThroughGumbelSoftmax`, which k = 1 is in distribution, and never
    more variance; one cost evaluation whatever k. The conditional perturbation itself is not
    differentiated. noise: `(1 + k, n, *batch, *event)`, the first for D.

    Use it in place of straight-through Gumbel-Softmax where a cost evaluation is dear and k more
    softmaxes are cheap.

    >>> from torch.distributions import OneHotCategorical
    >>> q = OneHotCategorical(logits=torch.zeros(3))
    >>> GumbelRao(k=10, tau=0.5).draw(q, n=2).points.sum(-1).tolist()
    [1.0, 1.0]
    """

    k: int = 100
    tau: float | Tensor = 1.0

    unbiased = False
    exact = False
    pathwise = True
    black_box = False
    anneals = ("tau",)

    def __post_init__(self) -> None:
        check_count("k", self.k)
        check_tau(self.tau)

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        f = family(q)
        first, *others = noise.split(1 + self.k)
        trace = f.trace(f.perturb(n, first))
        hard = f.outcome(trace)
        carried = zero_carrying(f.logits)
        soft = torch.zeros_like(hard)
        for part in others:
            soft = soft + f.soft(f.condition(trace, part).detach() + carried, self.tau)
        return Draw(straight_through(hard, soft / self.k), average)
