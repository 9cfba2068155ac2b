"""The true gradient: exactly where q can be enumerated, else by a long unbiased run."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from reparam.core import Estimator
from reparam.diagnostics.parallel import Run
from reparam.diagnostics.state import seed_all, undisturbed
from reparam.diagnostics.trials import BLOCKS, Subject, measure, seeds
from reparam.estimators import Enumerate, Rloo, Vimco
from reparam.noise import fold_in

MOST_COSTS = 2**17
"""How many costs, of all points and batch rows together, are evaluated at once to enumerate."""
LONGER, SAMPLES = 4, 8
STREAM = 1

LongRun = Callable[[Estimator], Tensor]


@dataclass(frozen=True)
class Truth:
    """The gradient as `mean` `(K, D)`, one independent estimate for each block; how it was found.

    Exact where all rows are the same.
    """

    mean: Tensor
    method: str

    def __post_init__(self) -> None:
        bad = int((~self.mean.isfinite()).sum())
        if bad:
            raise ValueError(
                f"costs: expected finite costs and gradients, got NaN or infinity in {bad:,} of "
                f"{self.mean.numel():,} entries of the true gradient ({self.method}), with which "
                "nothing can be compared; look at cost(q.sample((8,))) and at q's parameters"
            )


def truth(
    subject: Subject,
    seed: int,
    *,
    exact: Callable[[], Tensor] | None,
    reference: Estimator | None,
    long_run: LongRun,
) -> Truth:
    """By `exact`, a function that returns E_q[cost]; by the reference; or by what q allows."""
    if exact is not None:
        with undisturbed(subject, exact):
            return Truth(_repeated(subject, subject.slope(exact())), "as given")
    if reference is None and _enumerable(subject):
        first, second = (_enumerated(subject, fold_in(seed, i)) for i in range(2))
        if torch.equal(first.nan_to_num(), second.nan_to_num()):
            return Truth(first, "by enumeration")
        reference = Enumerate()  # q or the cost is random itself
    reference = reference or Rloo()
    if reference.multisample or not reference.unbiased:
        raise ValueError(
            f"reference: expected an unbiased estimator of E cost, got {reference}; try 'rloo', or "
            "'pathwise' where q and the cost are smooth"
        )
    return Truth(long_run(reference), f"from a long run of {reference}")


def bound_truth(n: int, long_run: LongRun) -> Truth:
    """Of the bound that multi-sample estimators differentiate, which depends on n."""
    return Truth(long_run(Vimco()), f"from a long run of {Vimco()} with n = {n}")


def long_run(subject: Subject, n: int, trials: int, seed: int, run: Run) -> LongRun:
    """Mean gradients `(K, D)` of an unbiased estimator, on seeds of their own."""
    zero = torch.zeros(sum(x.numel() for x in subject.tensors), dtype=torch.float64)

    def gradient(estimator: Estimator) -> Tensor:
        blocks = seeds(seed, STREAM, LONGER * trials)
        found = run(measure, [(subject, estimator, n, [block], zero) for block in blocks])
        return torch.cat([block.mean for block in found])

    return gradient


def _enumerable(subject: Subject) -> bool:
    try:
        with undisturbed(subject):
            points = Enumerate().draw(q := subject.q()).points
    except (TypeError, ValueError):
        return False
    return len(points) * q.batch_shape.numel() <= MOST_COSTS


def _enumerated(subject: Subject, seed: int) -> Tensor:
    with undisturbed(subject):
        seed_all(seed)
        return _repeated(subject, subject.gradient(Enumerate(), 1)[0])


def _repeated(subject: Subject, gradient: list[Tensor | None]) -> Tensor:
    return subject.flat(gradient).expand(BLOCKS, -1)
