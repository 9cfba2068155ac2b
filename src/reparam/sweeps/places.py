"""Where the runs of a sweep are trained: here, on a Dask or Ray cluster, or by Slurm."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from reparam.sweeps.folder import FAILURE

Place: TypeAlias = Callable[[Sequence[tuple[str, Sequence[str], str]]], Iterator[str]]
"""Calls `execute` with each of the arguments, and yields what it returns, as runs end."""

POLL = 0.2
"""Seconds between looks at what may have ended."""
SHARED = {"cluster", "cpus_per_task", "gpus_per_node", "mem_gb", "name", "nodes"}
SHARED |= {"stderr_to_stdout", "tasks_per_node", "timeout_min"}
"""What submitit asks of every cluster; all else is Slurm's own."""


def execute(run: str, hooks: Sequence[str], stop: str) -> str:
    """Train a run in a process of its own, until a file `stop` appears; returns the run's folder.

    The process is not in the group that a terminal's Ctrl-C reaches: it is asked to stop once.
    """
    if Path(stop).exists():
        return run
    command = [sys.executable, "-m", "reparam.sweeps.worker", run, *hooks]
    with (
        (Path(run) / "log.txt").open("ab") as log,
        subprocess.Popen(  # noqa: S603 (our own program)
            command,
            stdin=subprocess.PIPE,  # leaving this block closes it
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as process,
    ):
        while process.poll() is None and not Path(stop).exists():
            time.sleep(POLL)
    if process.returncode < 0 and not Path(stop).exists():
        name = signal.Signals(-process.returncode).name
        hint = " (was memory short?)" if name == "SIGKILL" else ""
        (Path(run) / FAILURE).write_text(f"its process was ended by {name}{hint}", encoding="utf-8")
    return run


def place(cluster: str | None, jobs: int | None, slurm: Mapping[str, Any], out: Path) -> Place:
    """This machine, or the cluster that `dask://HOST:PORT`, `ray` or `slurm` names.

    jobs: runs at a time, of this machine; by default one for each of its cores.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"--jobs: expected at least 1, got {jobs}")
    kind, _, address = (cluster or "local").partition("://")
    if jobs is not None and cluster:
        raise ValueError(f"--jobs: expected it for this machine alone, got it with {cluster}")
    if kind == "dask" and address:
        client = _dask(address)
        return lambda calls: _joblib(calls, "dask", -1, client)
    if kind == "ray":
        ray = _extra("ray", cluster)
        return lambda calls: _ray(calls, ray, cluster if address else None)
    if cluster == "slurm":
        return _slurm(slurm, out)
    if kind != "local" or address:
        raise ValueError(
            f"--cluster: expected dask://HOST:PORT, ray, ray://HOST:PORT or slurm, got {cluster!r}"
        )
    return lambda calls: _joblib(calls, "threading", jobs or -1, nullcontext())


def _dask(address: str) -> Any:
    """The scheduler at an address."""
    try:
        return _extra("distributed", f"dask://{address}").Client(address, set_as_default=True)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--cluster: expected a scheduler at dask://{address}, as `dask scheduler` starts one "
            f"and prints its HOST:PORT, got {error}"
        ) from None


def _joblib(calls: Sequence[Any], backend: str, jobs: int, client: Any) -> Iterator[str]:
    joblib = import_module("joblib")  # an extra
    with client, joblib.parallel_config(backend=backend, n_jobs=min(jobs, len(calls) or 1)):
        parallel = joblib.Parallel(
            return_as="generator_unordered", batch_size=1, pre_dispatch="all"
        )
        yield from parallel(joblib.delayed(execute)(*call) for call in calls)


def _ray(calls: Sequence[Any], ray: Any, address: str | None) -> Iterator[str]:
    """By its own tasks: its backend of joblib gives nothing back before all have ended."""
    with ray.init(address=address, log_to_driver=False, logging_level="error"):
        remote = ray.remote(execute)
        waiting = [remote.remote(*call) for call in calls]
        while waiting:
            done, waiting = ray.wait(waiting)
            yield from ray.get(done)


def _slurm(options: Mapping[str, Any], out: Path) -> Place:
    submitit = _extra("submitit", "slurm")
    try:
        executor = submitit.AutoExecutor(out / "slurm", cluster=options.get("cluster", "slurm"))
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"--cluster slurm: expected a machine that gives Slurm its jobs, got {error}; log in "
            'to one, or try the sweep here with cluster = "local" in [slurm]'
        ) from None
    given = {k: v for k, v in options.items() if k != "cluster"}
    named = {k if k in SHARED else f"slurm_{k.removeprefix('slurm_')}": v for k, v in given.items()}
    try:
        executor.update_parameters(**named)
    except (AssertionError, NameError, TypeError, ValueError) as error:
        raise ValueError(f"[slurm]: expected options of submitit; {error}") from None

    def run(calls: Sequence[tuple[str, Sequence[str], str]]) -> Iterator[str]:
        with executor.batch():
            jobs = {executor.submit(execute, *call): call for call in calls}
        while jobs:
            time.sleep(POLL)
            for job in [job for job in jobs if job.done()]:
                folder, _, stop = jobs.pop(job)
                if job.exception() is not None and not Path(stop).exists():
                    said = " ".join(str(job.exception()).split())
                    (Path(folder) / FAILURE).write_text(said, encoding="utf-8")
                yield folder
            for job, (_, _, stop) in jobs.items():
                if Path(stop).exists() and job.state == "PENDING":
                    job.cancel()

    return run


def _extra(name: str, cluster: str | None) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        extra = "ray" if name == "ray" else "'reparam[cluster]'"
        raise ImportError(
            f"--cluster {cluster}: expected {name}, which is missing: pip install {extra}"
        ) from None
