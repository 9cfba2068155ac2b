"""Running means of the training metrics, from one record to the next."""

from typing import Any

import torch
from torch import Tensor

from reparam.training.distributed import World


class Averages:
    """Sums in float64 on the metrics' own device: nothing waits for a GPU between records.

    Each process keeps the sums of its own examples.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}  # scalars
        self.count = 0

    def add(self, metrics: dict[str, Tensor], share: float) -> None:
        """The means of a part of a batch, scalars by name. share: of the batch's examples."""
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + share * value.double()

    def step(self) -> None:
        """All parts of a batch have been added."""
        self.count += 1

    def take(self, world: World) -> dict[str, float]:
        """The means over all examples since the last call, and start anew."""
        totals = self._totals(world)
        means = {name: total.item() / self.count for name, total in totals.items()}
        self.sums, self.count = {}, 0
        return means

    def state_dict(self, world: World) -> dict[str, Any]:
        """What a checkpoint between two records needs: one state for all processes."""
        return {"sums": self._totals(world), "count": self.count}

    def load_state_dict(self, state: dict[str, Any], world: World) -> None:
        """Continue from a checkpoint; the first process has the sums of all."""
        self.sums = {name: total * world.first for name, total in state["sums"].items()}
        self.count = int(state["count"])

    def _totals(self, world: World) -> dict[str, Tensor]:
        if not self.sums:
            return {}
        totals = world.sum(torch.stack(list(self.sums.values())))
        return dict(zip(self.sums, totals, strict=True))
