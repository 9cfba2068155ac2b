"""Pathwise: differentiate through the sampler."""

from dataclasses import dataclass

from torch.distributions import Distribution

from reparam.core import Draw, Estimator, average
from reparam.distributions import RelaxedCountStraightThrough
from reparam.distributions.straight_through import StraightThrough
from reparam.families import describe, reparameterize
from reparam.noise import Noise


@dataclass(frozen=True)
class Pathwise(Estimator):
    """The reparameterization trick: z = g(noise; parameters), differentiated in the parameters.

    Kingma & Welling 2014, "Auto-Encoding Variational Bayes", section 2.4, arXiv:1312.6114;
    Rezende et al. 2014, arXiv:1401.4082.

    Serves location-scale and inverse-CDF families from their base noise, multivariate Normals,
    chains of transforms and `Independent` over any of them; where torch has an `rsample` of its
    own (Gamma, Beta, Dirichlet, StudentT, ...), that one. Unbiased for differentiable costs.

    Use it first wherever q is continuous and the cost is smooth and differentiable.

    >>> from torch.distributions import Normal
    >>> d = Pathwise().draw(Normal(1.0, 2.0), noise=torch.tensor([0.5], dtype=torch.float64))
    >>> d.points.tolist()
    [1.0]
    """

    unbiased = True
    exact = False
    pathwise = True
    black_box = False

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        _check_smooth(q)
        return Draw(reparameterize(q, n, noise), average)


def _check_smooth(q: Distribution) -> None:
    """Refuse hard points with a soft gradient, which is biased."""
    base = q
    while isinstance(inner := getattr(base, "base_dist", None), Distribution):
        base = inner
    if isinstance(base, (StraightThrough, RelaxedCountStraightThrough)):
        raise TypeError(
            f"q: expected a distribution whose samples have an unbiased gradient, got "
            f"{describe(q)}; call its rsample for the biased one, which for OneHotCategorical and "
            "Bernoulli is also 'straight-through-gumbel-softmax'"
        )
