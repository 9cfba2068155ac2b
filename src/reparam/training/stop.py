"""Ctrl-C and SIGTERM as a question that the loop asks between steps."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """The run was asked to stop, and has left a checkpoint."""


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Within, the first signal only sets what the yielded function returns; a second one stops.

    Outside the main thread Python delivers no signals, and nothing is ever requested.
    """
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested.is_set
        return

    def request(number: int, frame: FrameType | None) -> None:
        if requested.is_set():
            raise KeyboardInterrupt
        requested.set()

    before = {s: signal.signal(s, request) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requested.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
