"""What the loop trains: a module with a loss, and what to say about it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from reparam.noise import fold_in


@dataclass(frozen=True)
class Step:
    """What one training step may depend on besides its examples, of which it may see a part.

    Noise belongs to the step and to the example, not to the process that draws it: so the noise of
    a run is the same however its batches are shared, and after it was resumed.

    number: from 0. key: of this step of the run. rows: the places of these examples in the whole
    batch, `(B,)`, on their device.
    """

    number: int
    key: int
    rows: Tensor

    @cached_property
    def keys(self) -> Tensor:
        """A key for each of these examples, `(B,)`."""
        return fold_in(self.key, self.rows)

    @cached_property
    def generator(self) -> torch.Generator:
        """For what is drawn once for the whole batch: it begins alike in every part."""
        return torch.Generator(self.rows.device).manual_seed(self.key % 2**63)


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
        """The loss of a batch, a scalar, and detached scalar metrics by name.

        All are means over examples: those of the parts of a batch are averaged, weighted by their
        examples. What else is made of the whole batch is then made of each part.
        """

    @abstractmethod
    def settings_at(self, step: int) -> dict[str, float]:
        """What schedules have set at a step: temperature, KL weight, by name."""

    @abstractmethod
    def evaluate(self, held_out: Any, step: Step) -> dict[str, float]:
        """Means over held-out examples after a step, by name.

        Of a part of them too; `derived` makes of the means over all what is no mean.
        """

    @abstractmethod
    def conclude(self, held_out: Any, step: Step) -> dict[str, float]:
        """The same, with what is too slow for every epoch; for the end of the run."""

    def derived(self, means: dict[str, float]) -> dict[str, float]:
        """The metrics, of the means over all held-out examples."""
        return means

    def vitals(self, batch: Any, step: Step) -> dict[str, float]:
        """Signs of the step just taken, by the names of `reparam.diagnostics.NAMES`, for warnings.

        Of the first examples of the whole batch, in one process alone. Changes nothing, and uses
        the step's randomness alone.
        """
        return {}

    @abstractmethod
    def trace(self, batch: Any, step: Step) -> Iterator[tuple[str, Tensor]]:
        """The forward pass again, each tensor on the way with its name, in order."""
