"""What is promised: ratios not to fall below, and peaks not to exceed."""

from math import prod

LARGE = 16_000  # elements, from which the promises of speed hold
NEVER_BELOW = 0.9  # of anything, at any size
CPU_PATHS = {  # of gumbel_softmax, ours against a standard
    ("pure torch", "F.gumbel_softmax"): 3.0,
    ("pure torch", "RelaxedOneHotCategorical"): 4.5,
    ("pure torch", "storchastic"): 3.0,
    ("[fast]", "F.gumbel_softmax"): 5.0,
}
FEW_CLASSES = 8  # where [fast] promises twice as much
PEAKS = {"gumbel_softmax, soft": 2.0, "gumbel_softmax, hard": 3.0}  # in tensors of the input
SMALL_THINGS = 0.1  # sums of rows, and chunks that stay in the cache


def floor(operation: str, shape: tuple[int, ...], ours: str, standard: str) -> float:
    """The least ratio of the standard's time over ours.

    >>> floor("gumbel_softmax, soft", (1_000_000, 8), "[fast]", "F.gumbel_softmax")
    10.0
    """
    if operation == "sinkhorn":
        return 10.0 if shape[-1] >= 50 else 4.0
    if operation in PEAKS and prod(shape) >= LARGE:
        least = CPU_PATHS.get((ours, standard), NEVER_BELOW)
        few = (ours, standard) == ("[fast]", "F.gumbel_softmax") and shape[-1] == FEW_CLASSES
        return 2 * least if few else least
    return NEVER_BELOW


def ceiling(operation: str, shape: tuple[int, ...]) -> float | None:
    """The largest peak, in tensors of the input; None where nothing is promised."""
    if operation not in PEAKS or prod(shape) < 10 * LARGE:  # chunks weigh more than small inputs
        return None
    return PEAKS[operation] + SMALL_THINGS
