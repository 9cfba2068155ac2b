"""This process among several: who they are, and the few collectives a run needs.

One process needs no engine: every function here is then the identity.
"""

import gc
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from reparam.training.folder import RunError
from reparam.training.stop import Interrupted, stop_requests

T = TypeVar("T")
PATIENCE = 2.0
"""Seconds for a launcher to end this process when another has died, and to say which."""


class ProcessError(RuntimeError):
    """What went wrong in this process alone; the others end without a word."""


@dataclass(frozen=True)
class World:
    """rank: this process's number, from 0. size: how many there are. device: its own.

    stop: whether this process was asked to stop.
    """

    rank: int
    size: int
    device: torch.device
    stop: Callable[[], bool] = field(default=lambda: False)

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def mine(self, count: int) -> Tensor:
        """The places of this process's examples among so many, `(B,)`."""
        return torch.arange(self.rank, count, self.size)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=self.device)))

    def every(self, value: T) -> list[T]:
        """The value of every process."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Until every process has come here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def world(device: str) -> Iterator[World]:
    """Join the processes that a launcher started, or be the only one.

    An error of one process ends all, and is raised in that one.
    """
    rank, size, kind = int(os.environ.get("RANK", "0")), processes(), device_kind(device)
    local = int(os.environ.get("LOCAL_RANK", "0"))
    own = torch.device(kind, local) if kind == "cuda" else torch.device(kind)
    if size == 1:
        with stop_requests() as stop:
            yield World(rank, size, own, stop)
        return
    threading.Thread(target=_stop_with, args=(os.getppid(),), daemon=True).start()
    store, _, _ = next(rendezvous("env://", rank, size))
    gpu = own if kind == "cuda" else None
    dist.init_process_group(
        "nccl" if gpu else "gloo", store=store, rank=rank, world_size=size, device_id=gpu
    )
    with stop_requests() as stop:
        try:
            yield World(rank, size, own, stop)
            dist.barrier()
        except (RunError, Interrupted):
            raise  # all processes have come to the same
        except Exception as error:  # noqa: BLE001 (it is raised again, or what it follows from)
            _give_up(error, rank, store, stop)
        finally:
            # The engine's threads must outlive every tensor they have seen.
            gc.collect()
            dist.destroy_process_group()


def _stop_with(launcher: int) -> None:
    """Ask this process to stop when the one that started it is gone: nobody else would."""
    while os.getppid() == launcher:
        time.sleep(PATIENCE / 2)
    os.kill(os.getpid(), signal.SIGTERM)


def together(task: nn.Module) -> DistributedDataParallel:
    """The task, whose gradients are the sums over all processes: those of the whole batch.

    (By default they would be means, as if the parts of a batch were batches of their own.)
    """
    model = DistributedDataParallel(task)
    model.register_comm_hook(None, _summed)
    return model


def _summed(state: None, bucket: dist.GradBucket) -> Future[Tensor]:  # type: ignore[name-defined]
    work: Any = dist.all_reduce(bucket.buffer(), async_op=True)
    total: Future[Tensor] = work.get_future().then(lambda done: done.value()[0])
    return total


def local(model: nn.Module, only: bool) -> AbstractContextManager[None]:
    """Within, backward passes add to this process's gradients only, to be summed by a later one."""
    return model.no_sync() if only and isinstance(model, DistributedDataParallel) else nullcontext()


def _give_up(error: Exception, rank: int, store: Any, stop: Callable[[], bool]) -> NoReturn:
    """Raise the error if it is the first of all processes: the others only follow from it."""
    try:
        first = store.add("gave up", 1) == 1
    except RuntimeError:  # the store went down with its machine
        first = True
    if not first:
        raise SystemExit(1)
    if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
        said = "".join(traceback.format_exception_only(error)).strip()
        raise ProcessError(f"process {rank}: {said}") from error
    # Another process died without a word. Its launcher knows which, and will end this one too.
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not stop():
        time.sleep(0.01)
    if stop():
        raise SystemExit(1)
    raise ProcessError(
        f"process {rank}: expected the others to go on, got a lost connection; another process "
        "died, perhaps on another machine: continue with the same command and --resume"
    ) from error


def processes() -> int:
    """How many a launcher has started, in all."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_shares(examples: int) -> None:
    """Refuse more processes than examples to share: a mean over none is not a number."""
    if processes() > examples:
        raise ValueError(
            f"--devices, --nodes: expected at most {examples} processes, one for each example of a "
            f"batch and of the test set, got {processes()}; start fewer"
        )


def device_kind(asked: str) -> str:
    """cpu or cuda, of cpu, cuda and auto; refuses more processes here than GPUs."""
    gpus, here = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if asked == "cpu" or (asked == "auto" and not gpus):
        return "cpu"
    if not gpus:
        raise ValueError("--device: expected a CUDA GPU, got a machine without one; use cpu")
    if here > gpus:
        raise ValueError(
            f"--devices: expected at most {gpus}, a GPU for each process, got {here}; start fewer, "
            "or choose --device cpu"
        )
    return "cuda"
