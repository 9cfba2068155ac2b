"""Perturbed optimizers: the expected vertex, and its Jacobian from the score."""

from dataclasses import dataclass

from torch.distributions import Distribution

from reparam.core import Draw, Estimator, average, surrogate
from reparam.distributions import PerturbAndMap
from reparam.families import describe, scored_sample, unwrapped
from reparam.noise import Noise


@dataclass(frozen=True)
class Perturbed(Estimator):
    """f(mean of n vertices y_i), whose Jacobian is that of (1/n) sum_i (y_i - b_i) log p(z_i).

    Berthet et al. 2020, "Learning with Differentiable Perturbed Optimizers", arXiv:2002.08676.

    One point, inside the polytope of a `PerturbAndMap`, from n solutions and none in the backward
    pass. It is unbiased for E[y], and its Jacobian for that of E[y], in theta and in the scale. p
    is the density of the perturbed parameters z: Normal noise Z gives the paper's E[y Z'] / scale.
    b_i is the mean of the other vertices; of one alone, 0. The value is the cost of the mean, not
    the mean cost: they agree for linear costs, where the gradient is unbiased, too.

    The paper's other form, the gradient of E[f(y)] for a cost f at vertices, is what the density
    of z gives 'score' and 'rloo': unbiased for any cost at all.

    Use it for a layer that solves, or where the target is an expected solution.

    >>> import torch
    >>> from reparam.distributions import NormalNoise, PerturbAndMap
    >>> from reparam.functional import matching
    >>> theta = torch.randn(3, 3, requires_grad=True)
    >>> q = PerturbAndMap(theta, matching, NormalNoise(), scale=0.5, event_dim=2)
    >>> d = Perturbed().draw(q, n=100)
    >>> d.combine((d.points - torch.eye(3)).square().sum((-1, -2))).backward()
    >>> d.points.shape, theta.grad.shape
    (torch.Size([1, 3, 3]), torch.Size([3, 3]))
    """

    unbiased = False
    exact = False
    pathwise = True
    black_box = False

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        base = unwrapped(q)
        if not isinstance(base, PerturbAndMap):
            raise TypeError(
                f"q: expected a PerturbAndMap, or Independent over one, got {describe(q)}; "
                "'rloo' serves any q with a log-probability"
            )
        y, log_prob = scored_sample(base, n, noise)
        others = (y.sum(0) - y) / max(n - 1, 1)
        log_p = log_prob()
        beside = log_p.view(*log_p.shape, *[1] * len(base.event_shape))
        return Draw(surrogate(y, beside, others).mean(0, keepdim=True), average)
