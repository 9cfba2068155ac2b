"""Priors that are learned: mixtures of what the latent's posteriors are."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily

from reparam.checks import check_count
from reparam.models.latents import Latent


class Prior(nn.Module, ABC):
    """p(z) = sum_k w_k q(z | h_k), the posterior of encoder outputs h_k: Gaussians, von Mises, ...

    It lives where the posterior does, so that it serves every latent.
    """

    logits: Tensor

    @abstractmethod
    def features(self, encoder: nn.Module) -> Tensor:
        """What the encoder returns, or would, for the components: h `(K, features)`."""

    def forward(self, latent: Latent, encoder: nn.Module) -> Distribution:
        """The mixture, batch shape ()."""
        weights = Categorical(logits=self.logits, validate_args=False)
        components = latent.posterior(self.features(encoder))
        return MixtureSameFamily(weights, components, validate_args=False)


class MixturePrior(Prior):
    """Weights and the components' own parameters are learned.

    >>> from reparam.models import VAE, GaussianLatent
    >>> vae = VAE((1, 8, 8), GaussianLatent(4), prior=MixturePrior(GaussianLatent(4), components=3))
    >>> vae.prior(torch.zeros(())).log_prob(torch.zeros(5, 4)).shape
    torch.Size([5])
    """

    def __init__(self, latent: Latent, components: int = 10) -> None:
        super().__init__()
        check_count("components", components)
        self.logits = nn.Parameter(torch.zeros(components))
        self.own = nn.Parameter(torch.randn(components, latent.features))

    def features(self, encoder: nn.Module) -> Tensor:
        return self.own


class VampPrior(Prior):
    """The mean of the posteriors of learned images.

    Tomczak & Welling 2018, "VAE with a VampPrior", arXiv:1705.07120. shape: (C, H, W) in pixels.

    >>> from reparam.models import VAE, GaussianLatent
    >>> vae = VAE((1, 8, 8), GaussianLatent(4), prior=VampPrior((1, 8, 8), components=3))
    >>> vae.prior(torch.zeros(())).log_prob(torch.zeros(5, 4)).shape
    torch.Size([5])
    """

    def __init__(self, shape: tuple[int, int, int], components: int = 10) -> None:
        super().__init__()
        check_count("components", components)
        self.register_buffer("logits", torch.zeros(components), persistent=False)
        self.pixels = nn.Parameter(torch.randn(components, *shape))

    def features(self, encoder: nn.Module) -> Tensor:
        features: Tensor = encoder(torch.sigmoid(self.pixels)).to(self.pixels.dtype)
        return features
