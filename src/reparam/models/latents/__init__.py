"""The latent of a VAE: from the encoder's outputs to a posterior, its prior and its KL."""

from reparam.models.latents.base import Latent
from reparam.models.latents.categorical import CategoricalLatent
from reparam.models.latents.directional import VonMisesFisherLatent, VonMisesLatent
from reparam.models.latents.dirichlet import DirichletLatent
from reparam.models.latents.gaussian import GaussianLatent
from reparam.models.latents.mixture import MixtureLatent

__all__ = [
    "CategoricalLatent",
    "DirichletLatent",
    "GaussianLatent",
    "Latent",
    "MixtureLatent",
    "VonMisesFisherLatent",
    "VonMisesLatent",
]
