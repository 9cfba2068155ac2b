"""A sweep from its plan to its summary; what is done already is left as it is."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from reparam.sweeps.folder import Outcome, folders, outcome
from reparam.sweeps.places import POLL, Place
from reparam.sweeps.plan import Plan
from reparam.sweeps.report import write_report
from reparam.sweeps.summary import write
from reparam.training.folder import RunFolder
from reparam.training.stop import stop_requests


def outcomes(plan: Plan, out: Path) -> list[Outcome]:
    """The runs of a sweep as they stand."""
    return [outcome(plan, folder) for folder in folders(plan, out)]


def train(
    plan: Plan, out: Path, place: Place, hooks: Sequence[str], ended: Callable[[Outcome], None]
) -> bool:
    """Train what is left to train; whether it was stopped by a signal before the end.

    ended: is told of each run as it ends.
    """
    left = [o.folder.path for o in outcomes(plan, out) if not o.finished]
    stop = out.resolve() / "stop"
    stop.unlink(missing_ok=True)
    with stop_requests() as asked, _passed_on(asked, stop):
        for run in place([(str(path.resolve()), hooks, str(stop)) for path in left]):
            found = outcome(plan, RunFolder(out / Path(run).name))
            if found.state in ("done", "failed"):
                ended(found)
        stopped = asked()
    stop.unlink(missing_ok=True)
    return stopped


def summarized(plan: Plan, out: Path) -> tuple[list[Outcome], Path]:
    """The runs as they stand, with their summary and report written anew; the report's path."""
    found = outcomes(plan, out)
    write(found, out)
    return found, write_report(plan, found, out)


@contextmanager
def _passed_on(asked: Callable[[], bool], stop: Path) -> Iterator[None]:
    """Within, a request to stop becomes a file that every process of the sweep can see."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(POLL):
            if asked():
                stop.touch()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
