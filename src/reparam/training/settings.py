"""What a run is made of: the options of `reparam train`, in plain data.

Imports nothing heavy: the command line reads its options and their help from here.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options common to all models."""

    epochs: int = 30
    """Passes over the training set."""

    batch: int = 128
    """Examples per step, over all processes."""

    lr: float = 1e-3
    """Learning rate of Adam."""

    seed: int = 0
    """Decides every random number of the run."""

    log_every: int = 50
    """Steps between training records."""

    checkpoint_every: int = 500
    """Steps between checkpoints; one is also written after every epoch."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU if there is one."""

    threads: int = 1
    """CPU threads of each process; small models gain nothing from more."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "log_every", "checkpoint_every", "threads"):
            self._at_least(name, 1)
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"--seed: expected an integer from 0 to 2^63 - 1, got {self.seed}")
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"--lr: expected a positive number, got {self.lr}")

    def _at_least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if not value >= least:
            option = "--" + name.replace("_", "-")
            raise ValueError(f"{option}: expected at least {least}, got {value}")
