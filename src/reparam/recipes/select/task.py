"""The selecting autoencoder as a task: its squared error, and what the pixels are worth."""

from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from reparam.checks import check_tau
from reparam.data import Images, load
from reparam.functional import gumbel_topk
from reparam.models.selector import Moments, PixelAutoencoder
from reparam.recipes.modes import anneal_to, settled
from reparam.recipes.select.settings import SelectSettings
from reparam.schedules import Schedule
from reparam.specs import schedule
from reparam.training.loop import planned_steps
from reparam.training.task import Step, Task

UNIT = 1000
"""Errors are in thousandths of the square of white."""
DRAWS = 100
PUBLISHED = {"published_regression": 26.0, "published_pca": 12.0}
"""Of 50 pixels of MNIST: Abid et al. 2019, arXiv:1901.09346."""


class SelectTask(Task):
    """Mean squared error of reconstructions from k pixels."""

    causes: ClassVar[dict[str, str]] = {
        "selected": "the selection overflowed; raise the temperature (--tau) or lower --lr",
        "reconstructions": "the decoder overflowed; lower --lr",
        "gradients": "the backward pass overflowed; raise the temperature (--tau) or lower --lr",
    }

    def __init__(self, model: PixelAutoencoder, masks: int, tau: Schedule, images: Images) -> None:
        super().__init__()
        self.model = model
        self.masks = masks
        self.tau = tau
        self.images = images

    def forward(self, batch: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        anneal_to(step.number, self.model)
        decoded = self.model(batch, self.masks, rows=step.rows, generator=step.generator)
        loss = mse_loss(decoded, batch)
        return loss, {"decoder": UNIT * loss.detach()}

    def settings_at(self, step: int) -> dict[str, float]:
        return {"tau": self.tau.at(step)}

    @torch.no_grad()
    def evaluate(self, held_out: Tensor, step: Step) -> dict[str, float]:
        with settled(self):
            decoder = mse_loss(self.model(held_out), held_out)
        selector, test = self.model.selector, held_out.cpu().flatten(1)
        regression = self.moments.regression(selector.selected.cpu(), test)
        rows = selector.logits.expand(DRAWS, -1)
        drawn, _ = gumbel_topk(rows, selector.k, generator=step.generator)
        decided = torch.isin(drawn, selector.selected).double().mean()
        return {
            "decoder": UNIT * decoder.item(),
            "regression": UNIT * regression,
            "decided": 100 * decided.item(),
        }

    @torch.no_grad()
    def conclude(self, held_out: Tensor, step: Step) -> dict[str, float]:
        k, test = self.model.selector.k, held_out.cpu().flatten(1)
        generator = torch.Generator().manual_seed(0)
        ours = self.evaluate(held_out, step)
        others = {
            "random": UNIT * self.moments.chance(k, test, generator),
            "pca": UNIT * self.moments.principal(k, test),
        }
        return {**ours, **others, **published(self.images, k)}

    @cached_property
    def moments(self) -> Moments:
        """Of the training images."""
        return Moments.of(self.images.train.flatten(1))

    def trace(self, batch: Tensor, step: Step) -> Iterator[tuple[str, Tensor]]:
        yield "batch", batch
        model = self.model
        seen = model.selector(batch.flatten(1), generator=step.generator)
        yield "selected pixels", seen
        decoded = model.decoder(seen)
        yield "reconstructions", decoded
        yield "loss", mse_loss(decoded, batch.flatten(1))


def published(images: Images, k: int) -> dict[str, float]:
    """Errors of the concrete autoencoder and of PCA, if they are of these data."""
    same = (images.name, images.shape, k) == ("mnist", (1, 28, 28), 50)
    return PUBLISHED if same else {}


def prepare(settings: SelectSettings) -> tuple[SelectTask, Images]:
    """The task of a run and its images."""
    images = load(settings.data)
    steps = planned_steps(settings, images)[1]
    tau = schedule(settings.tau, steps)
    for step in (0, steps - 1):
        check_tau(tau.at(step))
    model = PixelAutoencoder(images.shape, settings.k, settings.hidden, tau)
    return SelectTask(model, settings.masks, tau, images), images
