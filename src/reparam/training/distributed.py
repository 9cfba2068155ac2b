"""This process among several: what `torchrun` says, and the few collectives a run needs.

One process needs no engine: every function here is then the identity.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """rank: this process's number, from 0. size: how many there are. device: its own."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        shared = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return bool(shared)

    def wait(self) -> None:
        """Until every process has come here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def world(device: str) -> Iterator[World]:
    """Join the processes that `torchrun` started, or be the only one."""
    size = processes()
    rank = int(os.environ.get("RANK", "0"))
    kind = device_kind(device)
    own = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else None
    here = World(rank, size, own or torch.device("cpu"))
    if size == 1:
        yield here
        return
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", rank=rank, world_size=size)
    try:
        yield here
        dist.barrier()
    finally:
        # The engine's threads must outlive every tensor they have seen.
        gc.collect()
        dist.destroy_process_group()


def processes() -> int:
    """How many `torchrun` started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_shares(examples: int) -> None:
    """Refuse more processes than examples to share: a mean over none is not a number."""
    if processes() > examples:
        raise ValueError(
            f"--nproc-per-node: expected at most {examples} processes, one for each example of a "
            f"batch and of the test set, got {processes()}; start fewer"
        )


def device_kind(asked: str) -> str:
    """cpu or cuda, of cpu, cuda and auto."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device: expected a CUDA GPU, got a machine without one; use cpu")
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return asked
