"""REBAR: REINFORCE with a relaxation of the cost as control variate."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from reparam.checks import check_finite
from reparam.control import check_differentiable, controlled
from reparam.core import Draw, Estimator
from reparam.families import family
from reparam.noise import Noise


@dataclass(frozen=True)
class Rebar(Estimator):
    """[f(b) - eta f(s~)] grad log q(b) + eta grad f(s) - eta grad f(s~), s and s~ relaxing b.

    Tucker et al. 2017, "REBAR: Low-variance, Unbiased Gradient Estimates for Discrete Latent
    Variable Models", arXiv:1703.07370.

    s = soft(z, tau) relaxes the perturbed logits z that decided b; s~ = soft(z~, tau) relaxes
    fresh ones given b. Unbiased at every tau and eta: they start at the fields' values and are
    trained on the squared gradient, through `parameters()`. Three evaluations of a differentiable
    cost for each of the n samples, whose own parameters see those at b alone.
    noise: `(2, n, *batch, *event)`, for z and z~. Of sets, the order of drawing takes the place of
    b in the score and in what z~ is given; of Gumbel-Matching permutations, z itself (Struminsky et
    al. 2021, arXiv:2110.15072).

    Use it where bias is not allowed and the cost is differentiable and informative off the support.

    >>> from torch.distributions import OneHotCategorical
    >>> Rebar().draw(OneHotCategorical(logits=torch.zeros(5)), n=2).points.shape
    torch.Size([6, 5])
    """

    tau: float = field(default=0.5, metadata={"learned": True})
    eta: float = field(default=1.0, metadata={"learned": True})
    control: nn.ParameterDict = field(init=False, repr=False, compare=False)

    unbiased = True
    exact = False
    pathwise = False
    black_box = False
    differentiates = True

    def __post_init__(self) -> None:
        if not self.tau > 0:
            raise ValueError(f"tau: expected a temperature > 0, got {self.tau}; try 0.5")
        check_finite("tau", self.tau)
        check_finite("eta", self.eta)
        start = {"log_tau": torch.tensor(self.tau).log(), "eta": torch.tensor(float(self.eta))}
        object.__setattr__(self, "control", nn.ParameterDict(start))

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        f = family(q)
        first, second = noise.split(2)
        tau = self.control["log_tau"].exp()
        z = f.perturb(n, first)
        trace = f.trace(z)
        fresh = f.condition(trace, second)
        points = torch.cat([f.outcome(trace), f.soft(z, tau), f.soft(fresh, tau)])

        def combine(costs: Tensor) -> Tensor:
            check_differentiable(costs)
            eta = self.control["eta"].to(costs.dtype)
            hard, free, conditioned = costs.chunk(3)
            control = eta * free, eta * conditioned
            return controlled(
                q, f, trace, costs=hard, control=control, parameters=list(self.parameters())
            )

        return Draw(points, combine)
