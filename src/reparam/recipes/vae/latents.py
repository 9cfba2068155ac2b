"""The latent of a run and its prior, by their names."""

from collections.abc import Callable

from reparam.models import (
    CategoricalLatent,
    DirichletLatent,
    GaussianLatent,
    Latent,
    MixtureLatent,
    MixturePrior,
    Prior,
    VampPrior,
    VonMisesFisherLatent,
    VonMisesLatent,
)
from reparam.models.networks import Shape
from reparam.recipes.vae.settings import DiscreteVaeSettings, Posterior, VaeSettings

PLAIN: dict[Posterior, Callable[[int], Latent]] = {
    "gaussian": GaussianLatent,
    "von-mises": VonMisesLatent,
    "von-mises-fisher": VonMisesFisherLatent,
    "dirichlet": DirichletLatent,
}


def make_latent(settings: DiscreteVaeSettings | VaeSettings) -> Latent:
    """What `--posterior` names, or the categorical."""
    if isinstance(settings, DiscreteVaeSettings):
        return CategoricalLatent(settings.latents, settings.classes)
    if settings.posterior == "mixture":
        return MixtureLatent(settings.latents, settings.components)
    return PLAIN[settings.posterior](settings.latents)


def make_prior(
    settings: DiscreteVaeSettings | VaeSettings, latent: Latent, shape: Shape
) -> Prior | None:
    """What `--prior` names, in place of the latent's own.

    shape: (C, H, W) of an image.
    """
    if isinstance(settings, DiscreteVaeSettings) or settings.prior == "standard":
        return None
    if settings.prior == "mixture":
        return MixturePrior(latent, settings.components)
    return VampPrior(shape, settings.components)
