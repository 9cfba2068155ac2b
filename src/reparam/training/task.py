"""What the loop trains: a module with a loss, and what to say about it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Step:
    """What one training step may depend on besides its batch.

    number: from 0. generator: the step's own source of randomness, seeded by the run's seed, the
    step and the process, so that a resumed run draws what an uninterrupted one would.
    """

    number: int
    generator: torch.Generator


class Task(nn.Module, ABC):
    """A model, its loss and its evaluation. Everything learnable is a submodule.

    A batch is what the task's data gives: a tensor, or a tuple of them. Metrics are in units that
    two decimals do justice (nats, percent).

    causes: why a traced tensor is likely the first that is not finite, and the remedy, by the first
    word of its name; beside those of every task (`nonfinite.CAUSES`).
    """

    causes: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def forward(self, batch: Any, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch, a scalar, and detached scalar metrics by name."""

    @abstractmethod
    def settings_at(self, step: int) -> dict[str, float]:
        """What schedules have set at a step: temperature, KL weight, by name."""

    @abstractmethod
    def evaluate(self, held_out: Any, step: Step) -> dict[str, float]:
        """Means over held-out examples after a step, by name."""

    @abstractmethod
    def conclude(self, held_out: Any, step: Step) -> dict[str, float]:
        """The same, with what is too slow for every epoch; for the end of the run."""

    def vitals(self, batch: Any, step: Step) -> dict[str, float]:
        """Signs of the step just taken, by the names of `reparam.diagnostics.NAMES`, for warnings.

        Changes nothing, and uses the step's generator alone.
        """
        return {}

    @abstractmethod
    def trace(self, batch: Any, step: Step) -> Iterator[tuple[str, Tensor]]:
        """The forward pass again, each tensor on the way with its name, in order."""
