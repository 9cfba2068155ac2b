"""The classifier as a task: its loss, what is open, and what pruning leaves."""

from collections.abc import Iterator
from copy import deepcopy
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from reparam.data.labelled import LabelledImages, load_labelled
from reparam.models.lenet import L0LeNet, linear_widths, weights
from reparam.nn import prune
from reparam.recipes.l0.published import published
from reparam.recipes.l0.settings import L0Settings
from reparam.recipes.modes import settled
from reparam.training.folder import RunError
from reparam.training.task import Step, Task

Batch = tuple[Tensor, Tensor]
NAMES = ("pixels", "hidden_1", "hidden_2")
TOLERANCE = 1e-6
"""Of the pruned network's logits in double precision."""


class L0Task(Task):
    """Cross-entropy, and in nats of the whole training set what open weights cost.

    strengths: of each layer. examples: in the training set.
    """

    causes: ClassVar[dict[str, str]] = {
        "layer": "the network overflowed; lower --lr",
        "l0": "the gates overflowed; lower --lr",
        "loss": "the terms are finite and their sum is not; lower --strength",
    }

    def __init__(
        self, network: L0LeNet, strengths: tuple[float, ...], data: LabelledImages
    ) -> None:
        super().__init__()
        self.network = network
        self.strengths = strengths
        self.data = data

    def forward(self, batch: Batch, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        images, labels = batch
        nats = cross_entropy(self.network(images, generator=step.generator), labels)
        l0 = self.network.l0()
        loss = nats + self.complexity(l0)
        share = 100 * l0.sum() / weights(self.network)
        return loss, {"nats": nats.detach(), "l0": share.detach()}

    def complexity(self, l0: Tensor) -> Tensor:
        """What the expected weights of each layer `(layers,)` cost an image, in nats."""
        return l0 @ l0.new_tensor(self.strengths) / len(self.data.train[0])

    def settings_at(self, step: int) -> dict[str, float]:
        return {}

    @torch.no_grad()
    def evaluate(self, held_out: Batch, step: Step) -> dict[str, float]:
        images, labels = held_out
        with settled(self):
            wrong = self.network(images).argmax(1) != labels
        whole = weights(self.network)
        return {
            "error": 100 * wrong.double().mean().item(),
            **dict(zip(NAMES, map(float, self.network.widths()), strict=True)),
            "l0": 100 * self.network.l0().sum().item() / whole,
            "multiplications": 100 * self.network.multiplications().item() / whole,
        }

    @torch.no_grad()
    def conclude(self, held_out: Batch, step: Step) -> dict[str, float]:
        small = checked(self.network.layers, held_out[0])
        wrong = small(held_out[0]).argmax(1) != held_out[1]
        return {
            **self.evaluate(held_out, step),
            "pruned_error": 100 * wrong.double().mean().item(),
            "pruned_weights": 100 * weights(small) / weights(self.network),
            **published(self.data),
        }

    def trace(self, batch: Batch, step: Step) -> Iterator[tuple[str, Tensor]]:
        images, labels = batch
        yield "batch images", images
        logits = self.network(images, generator=step.generator)
        yield "layer outputs", logits
        l0 = self.network.l0()
        yield "l0", l0
        yield "loss", cross_entropy(logits, labels) + self.complexity(l0)


def checked(layers: nn.Sequential, images: Tensor) -> nn.Sequential:
    """What `prune` leaves of the layers, refused unless it computes the same of the images.

    Compared in double precision, where rounding hides nothing.
    """
    wide = deepcopy(layers).double().eval()
    images = images.double()
    difference = (prune(wide)(images) - wide(images)).abs().max().item()
    if not difference <= TOLERANCE:
        raise RunError(
            f"prune: expected logits as before to {TOLERANCE}, got a difference of {difference}"
        )
    return prune(layers).eval()


def left(small: nn.Module) -> str:
    """The widths of a pruned network, such as 219-214-100."""
    return "-".join(map(str, linear_widths(small)))


def prepare(settings: L0Settings) -> tuple[L0Task, LabelledImages]:
    """The task of a run and its images."""
    data = load_labelled(settings.data)
    network = L0LeNet(data.shape, data.classes)
    return L0Task(network, settings.strengths(), data), data
