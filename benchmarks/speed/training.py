"""Whole steps: RLOO, and the training of a discrete variational autoencoder."""

from dataclasses import dataclass

import torch
from benchmarks.speed.measure import Call, Contest, Side
from benchmarks.speed.relaxed import COMPILED
from torch import Tensor
from torch.distributions import Distribution, OneHotCategorical

import reparam as rp
from reparam import fast
from reparam.core import Draw, Estimator, average, surrogate
from reparam.families import family
from reparam.functional import straight_through
from reparam.models import VAE, CategoricalLatent
from reparam.noise import Noise

BATCH, UNITS = 128, 20
SAMPLES = 16
TAU = 0.7


@dataclass(frozen=True)
class Plain(Estimator):
    """Gumbel-Softmax composed of the primitives, every step of it recorded by autograd."""

    hard: bool

    unbiased = exact = black_box = False
    pathwise = True

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        discrete = family(q)
        z = discrete.perturb(n, noise)
        soft = discrete.soft(z, TAU)
        return Draw(straight_through(discrete.hard(z), soft) if self.hard else soft, average)


@dataclass(frozen=True)
class PlainRloo(Estimator):
    """RLOO with noise for every class, and log-probabilities by a product with the one-hot."""

    unbiased = black_box = True
    exact = pathwise = False

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        discrete = family(q)
        with torch.no_grad():
            points = discrete.hard(discrete.perturb(n, noise))
        log_p = points * torch.log_softmax(discrete.logits, -1)
        each = log_p.flatten(len(q.batch_shape) + 1).sum(-1)

        def combine(costs: Tensor) -> Tensor:
            detached = costs.detach()
            others = (detached.sum(0) - detached) / (n - 1)
            return surrogate(costs, each, others).mean(0)

        return Draw(points, combine)


def contests() -> list[Contest]:
    """The step of RLOO alone, then steps of the autoencoder for few and for many classes."""
    found = [rloo((BATCH, UNITS, 512))]
    for classes in (10, 512):
        found += [
            step("GumbelSoftmax", classes, Plain(hard=False), rp.GumbelSoftmax(TAU)),
            step(
                "StraightThrough", classes, Plain(hard=True), rp.StraightThroughGumbelSoftmax(TAU)
            ),
            step(f"Rloo, n={SAMPLES}", classes, PlainRloo(), rp.Rloo(), SAMPLES),
        ]
    return found


def rloo(shape: tuple[int, ...]) -> Contest:
    """Draw, cost and gradient, with a linear cost."""

    def naive(x: Tensor, w: Tensor) -> Tensor:
        q = OneHotCategorical(logits=x)
        points = q.sample((SAMPLES,))
        costs = points @ w
        others = (costs.sum(0) - costs) / (SAMPLES - 1)
        return ((costs - others) * q.log_prob(points)).mean(0)

    def ours(x: Tensor, w: Tensor) -> Tensor:
        return rp.expect(lambda points: points @ w, OneHotCategorical(logits=x), rp.Rloo(), SAMPLES)

    def make() -> list[Side]:
        x, w = torch.randn(shape, requires_grad=True), torch.randn(shape[-1])
        return [
            Side("naive", lambda: torch.autograd.grad(naive(x, w).sum(), x)),
            Side("pure torch", lambda: torch.autograd.grad(ours(x, w).sum(), x), fast=False),
        ]

    return Contest(f"Rloo, n={SAMPLES}", shape, make)


def step(name: str, classes: int, plain: Estimator, ours: Estimator, n: int = 1) -> Contest:
    """A training step of an autoencoder of 28 x 28 pixels, before and after."""

    def make() -> list[Side]:
        sides = [
            Side("plain primitives", trained(classes, plain, n)),
            Side("pure torch", trained(classes, ours, n), fast=False),
        ]
        if ours.pathwise and fast.kernel(COMPILED):
            sides.append(Side("[fast]", trained(classes, ours, n), fast=True))
        return sides

    return Contest(f"VAE step, {name}", (BATCH, UNITS, classes), make)


def trained(classes: int, estimator: Estimator, n: int) -> Call:
    """A step of Adam on a model of its own."""
    vae = VAE((1, 28, 28), CategoricalLatent(UNITS, classes), 400)
    optimizer = torch.optim.Adam(vae.parameters())
    images = torch.rand(BATCH, 1, 28, 28)

    def run() -> None:
        loss = -vae(images, estimator, n).objective().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()  # last: what one call holds, it gives back

    return run
