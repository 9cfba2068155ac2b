"""Several processes for one run: torch's elastic launcher, and one line where it prints many."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence

from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from reparam.training.settings import Machines


class Died(RuntimeError):
    """A process or a machine was lost: the message says which, and how."""


def launch(machines: Machines, arguments: Sequence[str]) -> int:
    """Run `reparam` with these arguments in every process of this machine; the exit status.

    Raises Died for a process that could not say itself what happened, and for machines that did not
    meet, or that lost the one where they met.
    """
    if machines.node_rank is not None and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python would hear it after the wait in C++
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # until --threads is known
    logging.disable()  # the launcher's own account, of many lines
    try:
        elastic_launch(_config(machines), sys.executable)("-m", "reparam", *arguments)
    except ChildFailedError as error:
        return _status(error.failures, machines.processes)
    except SignalException:
        return 130  # the processes have left a checkpoint, and said so
    except (RendezvousError, DistError) as error:
        raise Died(
            f"--rendezvous: expected {machines.nodes} machines to meet at {machines.rendezvous} "
            f"and to stay, got {error.__cause__ or error}; see that each was started, that the one "
            "they meet at is up, and that its port is free there and open to the others"
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    return 0


def check_host(machines: Machines) -> None:
    """Refuse a rendezvous whose name leads nowhere."""
    host, _, port = machines.rendezvous.rpartition(":")
    try:
        socket.getaddrinfo(host, port)
    except OSError as error:
        raise ValueError(
            f"--rendezvous: expected HOST:PORT of one of the machines, got {machines.rendezvous}, "
            f"whose host is not known here ({error.strerror})"
        ) from None


def _config(machines: Machines) -> LaunchConfig:
    static = machines.node_rank is not None
    return LaunchConfig(
        min_nodes=machines.nodes,
        max_nodes=machines.nodes,
        nproc_per_node=machines.devices,
        run_id=machines.job_id,
        rdzv_backend="static" if static else "c10d",
        rdzv_endpoint=machines.rendezvous or "localhost:0",
        rdzv_configs={"rank": machines.node_rank} if static else {},
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
    )


def _status(failures: dict[int, ProcessFailure], processes: int) -> int:
    """Of the process that failed first, if it ended by itself: it has said why."""
    rank, code = min(((r, f.exitcode) for r, f in failures.items()), key=lambda f: _blame(f[1]))
    if code > 0:
        return code
    name = signal.Signals(-code).name
    memory = " (was memory short?)" if name == "SIGKILL" else ""
    raise Died(f"process {rank} of {processes} was ended by {name}{memory}")


def _blame(code: int) -> int:
    """Killed processes first, which others then miss; last those that the launcher terminated."""
    return 2 if code == -signal.SIGTERM else int(code > 0)
