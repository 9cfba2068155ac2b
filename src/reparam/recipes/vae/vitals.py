"""The vital signs of a VAE's step: is the latent used, and does its gradient say where to go?"""

from copy import deepcopy

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.core import Estimator
from reparam.diagnostics import vitals
from reparam.families import family, is_discrete, sample
from reparam.models import VAE
from reparam.noise import Noise

ROWS = 128
"""Images that are looked at; fewer are given other images' codes more often."""


def vital_signs(
    vae: VAE,
    estimator: Estimator,
    images: Tensor,
    n: int,
    generator: torch.Generator,
    *,
    soft: bool,
) -> dict[str, float]:
    """Signs of a batch `(B, C, H, W)`, by the names of `reparam.diagnostics.NAMES`.

    n: samples that the estimator draws. soft: whether it evaluates relaxed points. Nothing that
    training goes on with is changed; the model's gradients are left alone.
    """
    images = images[:ROWS]
    with torch.no_grad():
        features = vae.encoder(images)
    q = vae.latent.posterior(features.requires_grad_())
    values, gradients = [], []
    for _ in range(2):
        value = _cost(vae, estimator, images, q, n=n, generator=generator)
        gradients += torch.autograd.grad(value.sum(), features, retain_graph=True)
        values.append(value.detach())
    signs = vitals.of_gradients(*gradients)
    with torch.no_grad():
        points = sample(q, 1, Noise(generator))
        kl = vae.kl(q, points)
        signs |= vitals.of_kl(kl) | _use(vae, images, points)
        if is_discrete(q):
            signs |= vitals.of_codes(family(q).logits, kl)
        tau = getattr(estimator, "tau", None)
        if is_discrete(q) and estimator.pathwise and tau is not None:
            signs |= vitals.of_relaxed(family(q).relax(1, tau, Noise(generator), hard=False))
        else:
            del signs["zero_share"]  # a score function has none for classes that were not drawn
        if soft:
            signs["gap"] = signs["reconstruction"] - torch.stack(values).mean().item()
    return signs


def _cost(
    vae: VAE,
    estimator: Estimator,
    images: Tensor,
    q: Distribution,
    *,
    n: int,
    generator: torch.Generator,
) -> Tensor:
    """The estimate of E_q[-log p(x|z)], or of the multi-sample bound, that training descends."""
    way = deepcopy(estimator)  # a baseline would learn from what it sees here
    points, combine = way.draw(q, n, generator=generator)
    costs = vae.cost(images, points)
    if way.multisample:
        return -combine(-costs - vae.log_ratio(q, points))
    return combine(costs)


def _use(vae: VAE, images: Tensor, points: Tensor) -> dict[str, float]:
    """The reconstruction, and what it loses by others' codes: points `(1, B, *event)`."""
    rows = len(images)
    shifts = range(min(rows, 1 + -(-ROWS // rows)))
    own, *others = vae.cost(images, torch.cat([points.roll(k, 1) for k in shifts])).mean(1).tolist()
    signs = {"reconstruction": own}
    return signs | {"shuffle": sum(others) / len(others) - own} if others else signs
