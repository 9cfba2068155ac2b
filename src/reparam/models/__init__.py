"""Models with a sampling step inside, and what is measured of them."""

from reparam.models.bounds import Evaluation, evaluate, importance_weighted, relaxes
from reparam.models.latents import (
    CategoricalLatent,
    DirichletLatent,
    GaussianLatent,
    Latent,
    MixtureLatent,
    VonMisesFisherLatent,
    VonMisesLatent,
)
from reparam.models.networks import networks, surrogate
from reparam.models.priors import MixturePrior, Prior, VampPrior
from reparam.models.terms import Terms, free_bits
from reparam.models.vae import VAE

__all__ = [
    "VAE",
    "CategoricalLatent",
    "DirichletLatent",
    "Evaluation",
    "GaussianLatent",
    "Latent",
    "MixtureLatent",
    "MixturePrior",
    "Prior",
    "Terms",
    "VampPrior",
    "VonMisesFisherLatent",
    "VonMisesLatent",
    "evaluate",
    "free_bits",
    "importance_weighted",
    "networks",
    "relaxes",
    "surrogate",
]
