"""What a run is made of: the options of `reparam train`, in plain data.

Imports nothing heavy: the command line reads its options and their help from here.
"""

from dataclasses import dataclass
from typing import Literal

MOST = 2**31 - 1
"""Of any count; sizes beyond it overflow."""
MANY = 1024
"""Threads or processes on a machine; some crash where far more are asked for."""


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

    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the forward and backward pass: bf16 computes matrix products in bfloat16 and keeps
    parameters, noise and tests in float32."""

    threads: int = 1
    """CPU threads of each process; small models gain nothing from more."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "log_every", "checkpoint_every"):
            self._at_least(name, 1)
        _at_least("threads", self.threads, 1, MANY)
        check_seed(self.seed)
        if not 0 < self.lr < 1e37:  # Adam multiplies it by ten at first, in single precision
            raise ValueError(f"--lr: expected a positive number below 1e37, got {self.lr}")

    def _at_least(self, name: str, least: int) -> None:
        _at_least(name, getattr(self, name), least)


@dataclass(frozen=True, kw_only=True)
class Machines:
    """How the work of a run is shared.

    It changes nothing but rounding: a run may be resumed on other machines.
    """

    devices: int = 1
    """Processes on this machine, each with a GPU of its own unless --device is cpu."""

    nodes: int = 1
    """Machines; the same command is run on each, with a run folder that all can see."""

    rendezvous: str = ""
    """HOST:PORT of the machine where several meet, the same for all."""

    node_rank: int | None = None
    """Number of this machine, from 0, the one of --rendezvous; if left out, the machines agree on
    one."""

    job_id: str = "reparam"
    """Name of the run at its rendezvous, where several runs may meet."""

    accumulate: int = 1
    """Parts that a process takes its share of a batch in, to save memory."""

    def __post_init__(self) -> None:
        _at_least("devices", self.devices, 1, MANY)
        for name in ("nodes", "accumulate"):
            _at_least(name, getattr(self, name), 1)
        if self.node_rank is not None and not 0 <= self.node_rank < self.nodes:
            raise ValueError(
                f"--node-rank: expected 0 to {self.nodes - 1}, one for each of --nodes, got "
                f"{self.node_rank}"
            )
        host, _, port = self.rendezvous.rpartition(":")
        if self.nodes > 1 and not (host and port.isdecimal()):
            raise ValueError(
                "--rendezvous: expected HOST:PORT of one of the machines, the same for all, got "
                f"{self.rendezvous or 'none'}"
            )

    @property
    def processes(self) -> int:
        """How many, in all."""
        return self.devices * self.nodes


def check_seed(seed: int) -> None:
    """Refuse a seed that torch would not take."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"--seed: expected an integer from 0 to 2^63 - 1, got {seed}")


def _at_least(name: str, value: float, least: int, most: int = MOST) -> None:
    option = "--" + name.replace("_", "-")
    if not value >= least:
        raise ValueError(f"{option}: expected at least {least}, got {value}")
    if value > most:
        raise ValueError(f"{option}: expected at most {most}, got {value}")
