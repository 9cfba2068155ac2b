"""RELAX: REINFORCE with a learned control variate, for any cost."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.distributions import Distribution

from reparam.control import controlled
from reparam.core import Draw, Estimator
from reparam.families import family
from reparam.noise import Noise


@dataclass(frozen=True)
class Relax(Estimator):
    """[f(b) - c(z~)] grad log q(b) + grad c(z) - grad c(z~), c a network.

    Grathwohl et al. 2018, "Backpropagation through the Void: Optimizing Control Variates for
    Black-Box Gradient Estimation", arXiv:1711.00123.

    z are the perturbed logits that decided b, z~ fresh ones given b. surrogate: a module that maps
    perturbed logits `(n, *batch, *event)` to `(n, *batch)`, differentiable twice; it is trained on
    the squared gradient, through `parameters()`. Unbiased whatever it computes; one evaluation of
    any cost for each of the n samples. noise: `(2, n, *batch, *event)`, for z and z~. What `Rebar`
    says of sets and permutations holds here too.

    Use it where bias is not allowed, the cost is a black box, and training is long enough for a
    network to learn its shape.

    >>> import torch
    >>> from torch.distributions import OneHotCategorical
    >>> c = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(-2))
    >>> d = Relax(c).draw(OneHotCategorical(logits=torch.zeros(3, 5)), n=2)
    >>> d.combine(d.points[..., 0]).shape
    torch.Size([3])
    """

    surrogate: nn.Module

    unbiased = True
    exact = False
    pathwise = False
    black_box = True
    differentiates = True

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        f = family(q)
        first, second = noise.split(2)
        z = f.perturb(n, first)
        trace = f.trace(z)

        def combine(costs: Tensor) -> Tensor:
            control = self._surrogate(z, costs), self._surrogate(f.condition(trace, second), costs)
            return controlled(
                q, f, trace, costs=costs, control=control, parameters=list(self.parameters())
            )

        return Draw(f.outcome(trace), combine)

    def _surrogate(self, z: Tensor, costs: Tensor) -> Tensor:
        c: Tensor = self.surrogate(z.clamp(min=-1e4))  # an excluded class is at -inf
        if c.shape != costs.shape:
            raise ValueError(
                f"surrogate: expected values of shape {tuple(costs.shape)} = (n, *batch) from "
                f"perturbed logits {tuple(z.shape)}, got {tuple(c.shape)}"
            )
        return c
