"""Models with a sampling step inside, and what is measured of them."""

from reparam.models.bounds import (
    Evaluation,
    evaluate,
    free_bits,
    importance_weighted,
    relaxes,
)
from reparam.models.latents import CategoricalLatent, GaussianLatent, Latent
from reparam.models.networks import networks, surrogate
from reparam.models.vae import VAE, Terms

__all__ = [
    "VAE",
    "CategoricalLatent",
    "Evaluation",
    "GaussianLatent",
    "Latent",
    "Terms",
    "evaluate",
    "free_bits",
    "importance_weighted",
    "networks",
    "relaxes",
    "surrogate",
]
