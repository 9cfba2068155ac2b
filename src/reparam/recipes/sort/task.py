"""Sorting as a task: its loss, and how much it sorts."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from reparam.data.labelled import load_labelled
from reparam.models.sorting import (
    Sorter,
    cross_entropy,
    perturbed,
    right_ranks,
    sorting_matrix,
)
from reparam.recipes.sort.numbers import Numbers
from reparam.recipes.sort.settings import SortSettings
from reparam.recipes.temperature import temperature
from reparam.schedules import Schedule
from reparam.training.loop import planned_steps
from reparam.training.task import Step, Task

PART = 200
"""Sequences that are tested at a time."""


class SortTask(Task):
    """Cross-entropy of the relaxed permutation, a row of which says what is in a place.

    Batches are images `(B, n, C, H, W)` and the values of their numbers `(B, n)`.
    """

    causes: ClassVar[dict[str, str]] = {
        "scores": "the network overflowed; lower --lr",
        "relaxed": "the scores are far apart for the temperature; raise --tau or lower --lr",
        "gradients": "the backward pass overflowed; raise --tau or lower --lr",
    }

    def __init__(self, sorter: Sorter, tau: Schedule, samples: int) -> None:
        super().__init__()
        self.sorter = sorter
        self.tau = tau
        self.samples = samples

    def forward(self, batch: tuple[Tensor, Tensor], step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        images, values = batch
        scores = self.sorter(images)
        relaxed = self._relaxed(scores, step)
        loss = cross_entropy(relaxed, sorting_matrix(values)).mean()
        right = right_ranks(values, self.sorter.order(scores.detach()))
        return loss, {"nats": loss.detach(), **_proportions(right)}

    def settings_at(self, step: int) -> dict[str, float]:
        return {"tau": self.tau.at(step)}

    @torch.no_grad()
    def evaluate(self, held_out: tuple[Tensor, Tensor], step: Step) -> dict[str, float]:
        images, values = held_out
        right = right_ranks(values, self.order(images))
        return {name: value.item() for name, value in _proportions(right).items()}

    def conclude(self, held_out: tuple[Tensor, Tensor], step: Step) -> dict[str, float]:
        return self.evaluate(held_out, step)

    def trace(self, batch: tuple[Tensor, Tensor], step: Step) -> Iterator[tuple[str, Tensor]]:
        images, values = batch
        yield "batch", images
        scores = self.sorter(images)
        yield "scores", scores
        relaxed = self._relaxed(scores, step)
        yield "relaxed", relaxed
        yield "loss", cross_entropy(relaxed, sorting_matrix(values)).mean()

    def order(self, images: Tensor) -> Tensor:
        """The images in descending order of their numbers, `(M, n)`, without noise."""
        return torch.cat(
            [self.sorter.order(self.sorter(part)) for part in torch.split(images, PART)]
        )

    def _relaxed(self, scores: Tensor, step: Step) -> Tensor:
        noisy = perturbed(scores, self.samples, step.keys)
        return self.sorter.relaxed(noisy, self.tau.at(step.number))


def _proportions(right: Tensor) -> dict[str, Tensor]:
    """Of whole permutations and of ranks `(B, n)` that are right, in percent."""
    return {
        "permutations": 100 * right.all(-1).double().mean(),
        "ranks": 100 * right.double().mean(),
    }


def prepare(settings: SortSettings) -> tuple[SortTask, Numbers]:
    """The task of a run and its sequences."""
    images = load_labelled(settings.data)
    numbers = Numbers(images, settings.sequences, settings.n, settings.digits)
    tau = temperature(settings.tau, planned_steps(settings, numbers)[1])
    sorter = Sorter(numbers.shape, settings.n, settings.relaxation, settings.hidden)
    return SortTask(sorter, tau, settings.samples), numbers
