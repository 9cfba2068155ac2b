"""Where independent pieces of work run: here, or in processes of joblib."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any

from reparam.checks import check_count

Run = Callable[[Callable[..., Any], Iterable[Sequence[Any]]], Iterator[Any]]


def runner(jobs: int) -> Run:
    """What calls a function with each of many arguments, and yields the results in order.

    With more jobs than one, joblib's backend runs them: processes on this machine, or the cluster
    that `joblib.parallel_config(backend="dask")` or "ray" names.
    """
    check_count("jobs", jobs)
    if jobs == 1:
        return lambda function, calls: (function(*call) for call in calls)
    try:
        joblib = import_module("joblib")  # an extra
    except ModuleNotFoundError:
        raise ImportError(
            f"jobs={jobs} needs joblib, which is missing: pip install 'reparam[train]', or jobs=1"
        ) from None
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator")
    return lambda function, calls: parallel(joblib.delayed(function)(*call) for call in calls)
