"""One run of a sweep, in a process of its own: `python -m reparam.sweeps.worker RUN HOOK...`.

It stops, with a checkpoint, when its standard input ends: so it does not outlive what started it.
Exit status: 0 done, 1 failed, 130 stopped.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console

from reparam.recipes.config import kept
from reparam.recipes.lookup import prepared, write_report
from reparam.recipes.tracking import trackers
from reparam.sweeps.folder import FAILURE
from reparam.training.folder import RunFolder
from reparam.training.run import run
from reparam.training.stop import Interrupted


def work(path: Path, hooks: list[str]) -> None:
    """Train the run whose config is in the folder, from its checkpoint if it has one."""
    folder = RunFolder(path)
    if folder.report.exists():  # another process was here first
        return
    settings = kept(folder)
    task, data = prepared(settings)
    run(settings, task, data, folder, Console(), trackers=trackers(hooks, settings, folder))
    write_report(settings, task, data, folder)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Within, no other process has this folder, on systems that can lock files."""
    with (path / "lock").open("w") as file:
        with suppress(ImportError, OSError):
            import fcntl  # noqa: PLC0415 (not on Windows)

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _stop_at_the_end_of_input() -> None:
    while os.read(0, 1):  # not sys.stdin, which a thread must not hold when the program ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(path: Path, *hooks: str) -> int:
    """The program."""
    threading.Thread(target=_stop_at_the_end_of_input, daemon=True).start()
    failure = path / FAILURE
    with alone(path):
        failure.unlink(missing_ok=True)
        try:
            work(path, list(hooks))
        except Interrupted:
            return 130
        except Exception as error:  # noqa: BLE001 (the sweep goes on, and shows it)
            traceback.print_exc()
            failure.write_text(" ".join(str(error).split()) or repr(error), encoding="utf-8")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
