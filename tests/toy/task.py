"""Counts with labels, and a linear classifier of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from reparam.training.task import Step, Task
from toy.settings import ToySettings


@dataclass(frozen=True)
class Documents:
    """Counts of words `(N, V)` and labels `(N,)`; a label is the document's number modulo two."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    name: str = "<documents>"
    note: str = "Counted by hand."

    def batch(self, indices: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of both."""
        counts, labels = self.train
        return counts[indices], labels[indices]


class Classifier(Task):
    """Logistic regression."""

    causes: ClassVar[dict[str, str]] = {"gradients": "the toy broke; mend it"}

    def __init__(self, words: int) -> None:
        super().__init__()
        self.linear = nn.Linear(words, 2)

    def forward(self, batch: tuple[Tensor, Tensor], step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        counts, labels = batch
        loss = cross_entropy(self.linear(counts), labels)
        return loss, {"nats": loss.detach()}

    def settings_at(self, step: int) -> dict[str, float]:
        return {"noise": 1 / (1 + step)}

    def evaluate(self, held_out: tuple[Tensor, Tensor], step: Step) -> dict[str, float]:
        counts, labels = held_out
        right = self.linear(counts).argmax(1) == labels
        return {"right": 100 * right.double().mean().item()}

    def conclude(self, held_out: tuple[Tensor, Tensor], step: Step) -> dict[str, float]:
        return {**self.evaluate(held_out, step), "documents": len(held_out[1])}

    def trace(self, batch: tuple[Tensor, Tensor], step: Step) -> Iterator[tuple[str, Tensor]]:
        yield "batch counts", batch[0]
        yield "logits", self.linear(batch[0])


def documents(count: int, words: int) -> tuple[Tensor, Tensor]:
    """Number i has i of the first word, and one of the second where i is odd."""
    counts = torch.zeros(count, words)
    counts[:, 0] = torch.arange(count)
    labels = torch.arange(count) % 2
    counts[:, 1] = labels
    return counts, labels


def prepare(settings: ToySettings) -> tuple[Classifier, Documents]:
    """The classifier and its documents."""
    data = Documents(documents(24, settings.words), documents(9, settings.words))
    return Classifier(settings.words), data
