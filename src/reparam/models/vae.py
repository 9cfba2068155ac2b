"""The variational autoencoder, for any latent and any estimator."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import binary_cross_entropy_with_logits

from reparam.core import Estimator
from reparam.families import log_prob, sample
from reparam.models.latents import Latent
from reparam.models.networks import Architecture, Shape, networks
from reparam.models.priors import Prior
from reparam.models.terms import Terms
from reparam.noise import Key, Noise, fold_in


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
        self,
        shape: Shape,
        latent: Latent,
        hidden: int = 400,
        architecture: Architecture = "mlp",
        prior: Prior | None = None,
    ) -> None:
        super().__init__()
        self.latent = latent
        self.encoder, self.decoder = networks(
            architecture, shape, hidden, latent.features, latent.dims
        )
        self.learned = prior

    def forward(
        self,
        images: Tensor,
        estimator: Estimator,
        n: int = 1,
        generator: torch.Generator | None = None,
        *,
        key: Key | None = None,
        kl_weight: float = 1.0,
        least: float = 0.0,
    ) -> Terms:
        """Images `(B, C, H, W)` in [0, 1] -> the terms of their bound.

        kl_weight, least: how a loss will count the KL: kl_weight * free_bits(kl, least). Where it
            has no closed form, log q - log p is a part of the cost, at that price.

        Estimators of the multi-sample bound get log-weights for costs; the reconstruction is then
        what is left of their n-sample bound beside the KL, and knows no such price.
        """
        q = self.posterior(images)
        points, combine = estimator.draw(q, n, generator=generator, key=key)
        costs, closed = self.cost(images, points), self.closed_kl(q)
        if closed is not None and not estimator.multisample:
            return Terms(combine(costs), closed)
        ratio = self.log_ratio(q, points)
        # For the record, from samples of its own: the estimator's points may be other than samples.
        others = Noise(generator, key=None if key is None else fold_in(key, 1))
        kl = self.kl(q, sample(q, n, others)).detach()
        if estimator.multisample:
            return Terms(-combine(-ratio - costs) - kl.sum(-1), kl)
        price = kl_weight if least <= 0 or kl.mean() >= least else 0.0
        return Terms(combine(costs + price * ratio) - price * kl.sum(-1), kl)

    def posterior(self, images: Tensor) -> Distribution:
        """q(z|x), batch shape (B,)."""
        # Under autocast, networks answer in half precision; distributions and costs are wider.
        return self.latent.posterior(self.encoder(images).to(images.dtype))

    def prior(self, like: Tensor) -> Distribution:
        """p(z), batch shape (); the latent's own is on the device and in the dtype of `like`."""
        if self.learned is None:
            return self.latent.prior(like)
        prior: Distribution = self.learned(self.latent, self.encoder)
        return prior

    def decode(self, points: Tensor) -> Tensor:
        """Points `(*any, *event)` -> pixel logits `(*any, C, H, W)`."""
        inputs = self.latent.inputs(points)
        logits: Tensor = self.decoder(inputs.reshape(-1, self.latent.dims)).to(inputs.dtype)
        return logits.reshape(*inputs.shape[:-1], *logits.shape[1:])

    def closed_kl(self, q: Distribution) -> Tensor | None:
        """KL(q(z|x) || p(z)) of each unit, `(B, units)`, if it has a closed form."""
        return self.latent.kl(q) if self.learned is None else None

    def kl(self, q: Distribution, points: Tensor) -> Tensor:
        """The same, `(B, units)`; without a closed form its estimate, as one unit.

        points: samples of q, `(n, B, *event)`.
        """
        closed = self.closed_kl(q)
        return self.log_ratio(q, points).mean(0).unsqueeze(-1) if closed is None else closed

    def log_ratio(self, q: Distribution, points: Tensor) -> Tensor:
        """log q(z|x) - log p(z), whose mean is the KL: points `(P, B, *event)` -> `(P, B)`."""
        return log_prob(q, points) - log_prob(self.prior(points), points)

    def log_weights(self, images: Tensor, q: Distribution, points: Tensor) -> Tensor:
        """log p(x, z) - log q(z|x): points `(P, B, *event)` -> `(P, B)`."""
        return -self.log_ratio(q, points) - self.cost(images, points)

    def cost(self, images: Tensor, points: Tensor) -> Tensor:
        """-log p(x|z) in nats: images `(B, C, H, W)`, points `(P, B, *event)` -> `(P, B)`."""
        logits = self.decode(points)
        target = images.expand_as(logits)
        nats = binary_cross_entropy_with_logits(logits, target, reduction="none")
        return nats.flatten(2).sum(-1)
