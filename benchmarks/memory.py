"""Peak memory of a call on the CPU, as torch's own allocator sees it; and memory kept."""

import ctypes
from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def peak(call: Callable[[], object], warm: bool = True) -> int:
    """The most bytes that `call` holds at once, beyond what was held before.

    Every allocation and release is counted, inside kernels and in the backward pass too; memory of
    the process is not, so that caches and page sizes play no part. What `call` returns counts until
    it ends. warm: call once before, to load and compile what a first call does.
    """
    if warm:
        call()
    # One cycle holds all; older torch warns unless it is told to keep the events of several.
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        call()
    # The profiler's public events attribute memory to operators; a peak needs it in time.
    events = seen.profiler.kineto_results.events()
    changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    held = top = 0
    for _, size in sorted(changes, key=lambda change: change[0]):
        held += size
        top = max(top, held)
    return top


def keep_freed() -> None:
    """Have glibc keep freed blocks below 32 MB, where it is the C library.

    It gives them back to the system or not by what happens to lie beside them: for one and the
    same operation, some processes pay page faults at every call and others never.
    """
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is not None:
        trim_threshold, mmap_threshold = -1, -3
        adjust(trim_threshold, -1)
        adjust(mmap_threshold, 32 * 2**20)
