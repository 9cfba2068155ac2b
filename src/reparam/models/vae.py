"""The variational autoencoder, for any latent and any estimator."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import binary_cross_entropy_with_logits

from reparam.core import Estimator
from reparam.families import log_prob
from reparam.models.latents import Latent
from reparam.models.networks import Architecture, Shape, networks


@dataclass(frozen=True)
class Terms:
    """The two parts of a bound, in nats; the bound of an image is -(reconstruction + kl.sum(-1)).

    reconstruction: an estimate of E_q[-log p(x|z)], `(B,)`, with the estimator's gradient.
    kl: KL(q(z|x) || p(z)) for each unit of the latent, `(B, units)`.
    """

    reconstruction: Tensor
    kl: Tensor

    def objective(self) -> Tensor:
        """-(reconstruction + KL), `(B,)`: a lower bound on log p(x) only if the points are hard."""
        return -(self.reconstruction + self.kl.sum(-1))


class VAE(nn.Module):
    """x -> q(z|x) -> a draw -> p(x|z), with Bernoulli pixels (Kingma & Welling 2014).

    The sampling step is any estimator that serves the latent's posterior.

    >>> import reparam as rp
    >>> from reparam.models import CategoricalLatent
    >>> vae = VAE((1, 8, 8), CategoricalLatent(units=4, classes=5), hidden=32)
    >>> vae(torch.rand(6, 1, 8, 8), rp.GumbelSoftmax(tau=0.5)).kl.shape
    torch.Size([6, 4])
    """

    def __init__(
        self, shape: Shape, latent: Latent, hidden: int = 400, architecture: Architecture = "mlp"
    ) -> None:
        super().__init__()
        self.latent = latent
        self.encoder, self.decoder = networks(
            architecture, shape, hidden, latent.features, latent.dims
        )

    def forward(
        self,
        images: Tensor,
        estimator: Estimator,
        n: int = 1,
        generator: torch.Generator | None = None,
    ) -> Terms:
        """Images `(B, C, H, W)` in [0, 1] -> the terms of their bound.

        Estimators of the multi-sample bound get log-weights for costs; the reconstruction is then
        what is left of their n-sample bound beside the KL, which carries no gradient.
        """
        q = self.posterior(images)
        points, combine = estimator.draw(q, n, generator=generator)
        kl = self.latent.kl(q)
        if not estimator.multisample:
            return Terms(combine(self.cost(images, points)), kl)
        bound = combine(self.log_weights(images, q, points))
        return Terms(-bound - kl.detach().sum(-1), kl.detach())

    def posterior(self, images: Tensor) -> Distribution:
        """q(z|x), batch shape (B,)."""
        return self.latent.posterior(self.encoder(images))

    def decode(self, points: Tensor) -> Tensor:
        """Points `(*any, *event)` -> pixel logits `(*any, C, H, W)`."""
        event = len(self.latent.prior(points).event_shape)
        lead = points.shape[: points.ndim - event]
        logits: Tensor = self.decoder(points.reshape(-1, self.latent.dims))
        return logits.reshape(*lead, *logits.shape[1:])

    def log_weights(self, images: Tensor, q: Distribution, points: Tensor) -> Tensor:
        """log p(x, z) - log q(z|x): points `(P, B, *event)` -> `(P, B)`."""
        prior = self.latent.prior(points)
        return log_prob(prior, points) - log_prob(q, points) - self.cost(images, points)

    def cost(self, images: Tensor, points: Tensor) -> Tensor:
        """-log p(x|z) in nats: images `(B, C, H, W)`, points `(P, B, *event)` -> `(P, B)`."""
        logits = self.decode(points)
        target = images.expand_as(logits)
        nats = binary_cross_entropy_with_logits(logits, target, reduction="none")
        return nats.flatten(2).sum(-1)
