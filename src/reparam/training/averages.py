"""Running means of the training metrics, from one record to the next."""

from typing import Any

import torch
from torch import Tensor

from reparam.training.distributed import World


class Averages:
    """Sums in float64 on the metrics' own device: nothing waits for a GPU between records."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, metrics: dict[str, Tensor]) -> None:
        """One step's metrics, scalars by name."""
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value).double()) + value
        self.count += 1

    def take(self) -> dict[str, float]:
        """The means since the last call, and start anew."""
        means = {name: total.item() / self.count for name, total in self.sums.items()}
        self.sums, self.count = {}, 0
        return means

    def state_dict(self, world: World) -> dict[str, Any]:
        """What a checkpoint between two records needs: one state for all processes."""
        sums = {name: world.sum(total.clone()) / world.size for name, total in self.sums.items()}
        return {"sums": sums, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.sums, self.count = dict(state["sums"]), int(state["count"])
