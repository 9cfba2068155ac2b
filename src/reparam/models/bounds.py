"""Bounds on the log-likelihood of held-out images, always with hard samples."""

from dataclasses import asdict, dataclass
from math import log

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.core import Estimator
from reparam.families import family, is_discrete, sample
from reparam.models.parts import in_parts
from reparam.models.vae import VAE
from reparam.noise import Noise


@dataclass(frozen=True)
class Evaluation:
    """Means over a set of images, in nats per image.

    bound: the ELBO with one hard sample, a lower bound on log p(x).
    reconstruction, kl: its parts, bound = -(reconstruction + kl).
    relaxed: the training objective's value where the estimator evaluates the decoder at relaxed
        points. It is no bound: see it as what the relaxation believes. None for hard estimators.
    """

    bound: float
    reconstruction: float
    kl: float
    relaxed: float | None

    def asdict(self) -> dict[str, float]:
        """The values that exist, by name."""
        return {k: v for k, v in asdict(self).items() if v is not None}


@torch.no_grad()
def evaluate(
    vae: VAE,
    images: Tensor,
    estimator: Estimator,
    generator: torch.Generator | None = None,
    batch: int = 500,
    *,
    key: Tensor | None = None,
) -> Evaluation:
    """The one-sample bound of `images` `(N, C, H, W)`, and the estimator's own value beside it.

    key: int64, one for each image, `(N,)`; both are then of the same noise.
    """
    totals = torch.zeros(3, dtype=torch.float64)
    # Asked of a posterior that no image decides, so that all processes give the same answer.
    uninformed = vae.latent.posterior(images.new_zeros(64, vae.latent.features))
    relaxed = relaxes(estimator, uninformed)
    for part, keys in in_parts(images, batch, key):
        q = vae.posterior(part)
        points = sample(q, 1, Noise(generator, key=keys))
        reconstruction = vae.cost(part, points)[0]
        kl = vae.kl(q, points).sum(-1)
        own = reconstruction
        if relaxed:
            draw = estimator.draw(q, generator=generator, key=keys)
            own = draw.combine(vae.cost(part, draw.points))
        totals += torch.stack([v.double().sum().cpu() for v in (reconstruction, kl, own)])
    nats, kl_nats, own_nats = (totals / len(images)).tolist()
    return Evaluation(
        bound=-(nats + kl_nats),
        reconstruction=nats,
        kl=kl_nats,
        relaxed=-(own_nats + kl_nats) if relaxed else None,
    )


def relaxes(estimator: Estimator, q: Distribution) -> bool:
    """Whether the estimator evaluates costs off the support of q."""
    if not (estimator.pathwise and is_discrete(q)):
        return False
    generator = torch.Generator(device=family(q).logits.device).manual_seed(0)
    points = estimator.draw(q, generator=generator).points
    return not bool(((points == 0) | (points == 1)).all())


@torch.no_grad()
def importance_weighted(
    vae: VAE,
    images: Tensor,
    k: int,
    generator: torch.Generator | None = None,
    chunk: int = 5000,
    *,
    key: Tensor | None = None,
) -> float:
    """E log (1/k) sum_i p(x, z_i) / q(z_i|x), hard samples, in nats per image.

    A lower bound on log p(x) that tightens as k grows; k = 1 is the ELBO (Burda et al. 2016,
    "Importance Weighted Autoencoders", arXiv:1509.00519). chunk: images times samples
    that are decoded at once. key: int64, one for each image, `(N,)`.
    """
    total = 0.0
    per_part = max(1, chunk // k)
    for part, keys in in_parts(images, per_part, key):
        q = vae.posterior(part)
        points = sample(q, k, Noise(generator, key=keys))
        log_w = vae.log_weights(part, q, points)
        total += float((torch.logsumexp(log_w.double(), 0) - log(k)).sum())
    return total / len(images)
