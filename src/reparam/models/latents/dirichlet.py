"""Proportions as a latent."""

from torch import Tensor
from torch.distributions import Distribution, kl_divergence
from torch.nn.functional import softplus

from reparam.checks import check_count
from reparam.distributions import LogDirichlet
from reparam.models.latents.base import Latent

LEAST = 1e-6


class DirichletLatent(Latent):
    """`units` proportions with a uniform prior on the simplex: one unit, event shape (units,).

    Points are their logarithms, of which none underflows; the decoder takes the proportions. The
    encoder returns what the softplus makes concentrations of (Joo et al. 2020, "Dirichlet
    Variational Autoencoder", arXiv:1901.02739, with an approximate path in place of the exact).
    """

    def __init__(self, units: int = 20) -> None:
        check_count("latents", units, least=2)
        self.units = self.features = self.dims = units

    def posterior(self, features: Tensor) -> Distribution:
        return LogDirichlet(concentrations(features), validate_args=False)

    def prior(self, like: Tensor) -> Distribution:
        return LogDirichlet(like.new_ones(self.units), validate_args=False)

    def kl(self, q: Distribution) -> Tensor:
        assert isinstance(q, LogDirichlet)  # noqa: S101 (it is what `posterior` returns)
        return kl_divergence(q, self.prior(q.concentration)).unsqueeze(-1)

    def inputs(self, points: Tensor) -> Tensor:
        return self.units * points.exp() - 1


def concentrations(features: Tensor) -> Tensor:
    """Positive numbers, elementwise: softplus alone underflows to 0, where there is no Dirichlet.

    >>> concentrations(torch.tensor(-200.0)).item() > 0
    True
    """
    return softplus(features) + LEAST
