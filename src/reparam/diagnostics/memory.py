"""Peak memory of a call, as torch's own allocator sees it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch._C._autograd import DeviceType
from torch.autograd.profiler import profile


def peak_memory(call: Callable[[], object], *, gpu: bool) -> int:
    """The most bytes that a call holds at once, beyond what was held before.

    Every allocation and release counts, inside kernels and in the backward pass too; memory of
    the process does not, so that caches and page sizes play no part.
    """
    with _silent(), profile(use_device="cuda" if gpu else None, profile_memory=True) as seen:
        call()
    # The profiler's public events attribute memory to operators; a peak needs it in time.
    device = DeviceType.CUDA if gpu else DeviceType.CPU
    events = seen.kineto_results.events() if seen.kineto_results else []
    memory = (e for e in events if e.name() == "[memory]" and e.device_type() == device)
    held = top = 0
    for event in sorted(memory, key=lambda event: event.start_ns()):
        held += event.nbytes()
        top = max(top, held)
    return top


@contextmanager
def _silent() -> Iterator[None]:
    """The profiler announces itself on stderr, unless its library is told not to as it starts."""
    before = os.environ.get("KINETO_LOG_LEVEL")
    os.environ["KINETO_LOG_LEVEL"] = "99"
    try:
        yield
    finally:
        del os.environ["KINETO_LOG_LEVEL"]
        if before is not None:
            os.environ["KINETO_LOG_LEVEL"] = before
