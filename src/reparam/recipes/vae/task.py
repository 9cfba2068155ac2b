"""The VAEs as tasks: their loss, their schedules, their bounds."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from reparam.core import Estimator
from reparam.data import Images, load
from reparam.estimators import ESTIMATORS, Relax
from reparam.families import sample
from reparam.models import (
    VAE,
    Latent,
    evaluate,
    free_bits,
    importance_weighted,
    relaxes,
    surrogate,
)
from reparam.noise import Noise
from reparam.recipes.vae.latents import make_latent, make_prior
from reparam.recipes.vae.settings import CommonVaeSettings, DiscreteVaeSettings, VaeSettings
from reparam.recipes.vae.vitals import vital_signs
from reparam.schedules import Schedule, drive, driveable
from reparam.specs import estimator, schedule, split
from reparam.training.loop import planned_steps
from reparam.training.task import Step, Task


class VaeTask(Task):
    """-ELBO, with the KL weighted by a schedule and kept by free bits.

    driven: schedules of the estimator's fields. The estimator's own modules (baselines) are
    submodules: one optimizer trains them, and checkpoints hold them.
    """

    causes: ClassVar[dict[str, str]] = {
        "posterior": "the encoder overflowed; lower --lr",
        "points": "the sampling step made it; raise the temperature (--tau), above 0.1",
        "reconstruction": "the decoder overflowed; lower --lr",
        "kl": "the posterior ran away from the prior; lower --lr or raise --kl-weight",
        "loss": "the terms are finite and their sum is not; lower --kl-weight",
        "gradients": "the backward pass overflowed; raise the temperature (--tau) or lower --lr",
    }

    def __init__(
        self,
        vae: VAE,
        estimator: Estimator,
        driven: dict[str, Schedule],
        kl_weight: Schedule,
        settings: CommonVaeSettings,
    ) -> None:
        super().__init__()
        self.vae = vae
        self.estimator = estimator
        self.driven = driven
        self.kl_weight = kl_weight
        self.settings = settings
        self.control = nn.ModuleDict(estimator.modules())
        self.relaxed = False

    def forward(self, batch: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        weight, least = self.kl_weight.at(step.number), self.settings.free_bits
        way, n = self.estimator_at(step.number), self.settings.samples
        terms = self.vae(batch, way, n, key=step.keys, kl_weight=weight, least=least)
        loss = terms.reconstruction.mean() + weight * free_bits(terms.kl, least)
        metrics = {
            "relaxed" if self.relaxed else "bound": terms.objective().mean(),
            "kl": terms.kl.sum(-1).mean(),
        }
        return loss, {k: v.detach() for k, v in metrics.items()}

    def estimator_at(self, step: int) -> Estimator:
        """The estimator with its fields as scheduled."""
        return drive(self.estimator, step, **self.driven)

    def settings_at(self, step: int) -> dict[str, float]:
        values = {name: s.at(step) for name, s in self.driven.items()}
        return {**values, "kl_weight": self.kl_weight.at(step)}

    def evaluate(self, held_out: Tensor, step: Step) -> dict[str, float]:
        way = self.estimator_at(step.number)
        return evaluate(self.vae, held_out, way, key=step.keys).asdict()

    def conclude(self, held_out: Tensor, step: Step) -> dict[str, float]:
        k = self.settings.iw_samples
        bound = importance_weighted(self.vae, held_out, k, key=step.keys)
        return {**self.evaluate(held_out, step), f"bound_{k}": bound}

    def vitals(self, batch: Tensor, step: Step) -> dict[str, float]:
        way, n = self.estimator_at(step.number), self.settings.samples
        return vital_signs(self.vae, way, batch, n, step.generator, soft=self.relaxed)

    def trace(self, batch: Tensor, step: Step) -> Iterator[tuple[str, Tensor]]:
        yield "batch", batch
        features = self.vae.encoder(batch)
        yield "posterior features", features
        q = self.vae.latent.posterior(features)
        n = self.settings.samples
        points = self.estimator_at(step.number).draw(q, n, key=step.keys).points
        yield "points", points
        yield "reconstruction", self.vae.cost(batch, points)
        yield "kl", self.vae.kl(q, sample(q, n, Noise(key=step.keys)))
        yield "loss", self(batch, step)[0]


def prepare(settings: DiscreteVaeSettings | VaeSettings) -> tuple[VaeTask, Images]:
    """The task of a run and its images."""
    images = load(settings.data, binarize=settings.binarize, seed=settings.seed)
    return vae_task(settings, images, planned_steps(settings, images)[1]), images


def vae_task(settings: DiscreteVaeSettings | VaeSettings, images: Images, steps: int) -> VaeTask:
    """The task of a run; refuses an estimator that cannot serve the latent before any training.

    steps: the planned length of the run, which default schedules end with.
    """
    latent = make_latent(settings)
    prior = make_prior(settings, latent, images.shape)
    vae = VAE(images.shape, latent, settings.hidden, settings.encoder, prior)
    way = _way(settings.estimator, latent)
    if way.multisample and (settings.kl_weight, settings.free_bits) != ("1", 0.0):
        raise ValueError(
            "--kl-weight, --free-bits: expected neither with a multi-sample bound, whose KL is not "
            f"a term of its own, got {settings.kl_weight} and {settings.free_bits}; leave them out"
        )
    task = VaeTask(
        vae,
        way,
        _driven(settings, way, steps),
        schedule(settings.kl_weight, steps),
        settings,
    )
    task.relaxed = _tried(task, images, steps)
    return task


def _way(spec: str, latent: Latent) -> Estimator:
    """The estimator of a spec; RELAX gets a surrogate of the latent's size."""
    if spec.strip() == "relax":
        return Relax(surrogate(latent.features))
    return estimator(spec)


def _driven(
    settings: DiscreteVaeSettings | VaeSettings, way: Estimator, steps: int
) -> dict[str, Schedule]:
    """The temperature's schedule, for estimators that have a temperature."""
    if not isinstance(settings, DiscreteVaeSettings):
        return {}
    stated = "tau" in split("estimator", settings.estimator, ESTIMATORS)[1]
    if settings.tau == "auto":
        anneal = "tau" in way.anneals and not stated
        return {"tau": schedule("exponential:start=1,end=0.5", steps)} if anneal else {}
    if "tau" not in driveable(way):
        raise ValueError(
            f"--tau: expected an estimator with a temperature, got {settings.estimator}; "
            "leave --tau out"
        )
    if stated:
        raise ValueError(
            f"--tau: expected one temperature, got {settings.tau} beside {settings.estimator}; "
            "leave one of them out"
        )
    return {"tau": schedule(settings.tau, steps)}


def _tried(task: VaeTask, images: Images, steps: int) -> bool:
    """One draw for one image, so that what does not fit fails here; whether it is relaxed."""
    for step in (0, steps - 1):  # the temperatures that the run begins and ends with
        task.estimator_at(step)
    q = task.vae.posterior(images.test[:1])
    generator = torch.Generator().manual_seed(0)
    try:
        task.estimator.draw(q, task.settings.samples, generator=generator)
    except ValueError as error:
        raise ValueError(
            f"{error} (--samples sets n)" if str(error)[:2] == "n:" else error
        ) from None
    return relaxes(task.estimator, q)
