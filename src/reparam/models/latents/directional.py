"""Latents without a boundary: angles, and a point on a sphere."""

from math import sqrt

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence
from torch.nn.functional import normalize, softplus

from reparam.checks import check_count
from reparam.distributions import VonMises, VonMisesFisher
from reparam.models.latents.base import Latent


class VonMisesLatent(Latent):
    """`units` independent angles with a uniform prior; event shape (units,).

    The encoder returns for each a direction in the plane, of any length, and what the softplus
    makes a concentration of. The decoder takes cosines and sines: it knows no seam.
    """

    def __init__(self, units: int = 20) -> None:
        check_count("latents", units)
        self.units = units
        self.features, self.dims = 3 * units, 2 * units

    def posterior(self, features: Tensor) -> Distribution:
        cosine, sine, concentration = features.chunk(3, -1)
        loc = torch.atan2(sine, cosine)
        return Independent(VonMises(loc, softplus(concentration), validate_args=False), 1)

    def prior(self, like: Tensor) -> "Independent[VonMises]":
        zeros = like.new_zeros(self.units)
        return Independent(VonMises(zeros, zeros, validate_args=False), 1)

    def kl(self, q: Distribution) -> Tensor:
        assert isinstance(q, Independent)  # noqa: S101 (it is what `posterior` returns)
        return kl_divergence(q.base_dist, self.prior(q.base_dist.loc).base_dist)

    def inputs(self, points: Tensor) -> Tensor:
        return sqrt(2) * torch.cat([points.cos(), points.sin()], -1)


class VonMisesFisherLatent(Latent):
    """A point on the unit sphere of R^units with a uniform prior: one unit, event shape (units,).

    Davidson et al. 2018, "Hyperspherical Variational Auto-Encoders", arXiv:1804.00891. The encoder
    returns a direction, of any length, and what the softplus makes a concentration of.
    """

    def __init__(self, units: int = 20) -> None:
        check_count("latents", units, least=2)
        self.units = self.dims = units
        self.features = units + 1

    def posterior(self, features: Tensor) -> Distribution:
        loc, concentration = normalize(features[..., 1:], dim=-1), softplus(features[..., 0])
        return VonMisesFisher(loc, concentration, validate_args=False)

    def prior(self, like: Tensor) -> Distribution:
        anywhere = normalize(like.new_ones(self.units), dim=-1)
        return VonMisesFisher(anywhere, 0.0, validate_args=False)

    def kl(self, q: Distribution) -> Tensor:
        assert isinstance(q, VonMisesFisher)  # noqa: S101 (it is what `posterior` returns)
        return kl_divergence(q, self.prior(q.loc)).unsqueeze(-1)

    def inputs(self, points: Tensor) -> Tensor:
        return sqrt(self.units) * points
