"""Trials: independent gradients of one estimator, summed up in blocks as they come."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.core import Estimator
from reparam.diagnostics.memory import peak_memory
from reparam.diagnostics.state import seed_all, undisturbed
from reparam.noise import fold_in

BLOCKS = 16


@dataclass(frozen=True)
class Subject:
    """What is differentiated: the sum over batch rows of E_q[cost], in some tensors.

    q: makes the distribution, once for each trial. cost: points `(P, *batch, *event)` ->
    `(P, *batch)`.
    """

    q: Callable[[], Distribution]
    cost: Callable[[Tensor], Tensor]
    tensors: Sequence[Tensor]

    def gradient(self, estimator: Estimator, n: int) -> tuple[list[Tensor | None], int]:
        """One gradient, and the number of points that it took the cost at."""
        points, combine = estimator.draw(self.q(), n)
        return self.slope(combine(self.cost(points))), len(points)

    def slope(self, value: Tensor) -> list[Tensor | None]:
        """The gradient of the sum of a value; the graph is kept, for q may stem from it."""
        if not value.requires_grad:
            raise ValueError(
                "costs: expected a function differentiable in its points, got values without a "
                "gradient; use a black-box estimator such as 'rloo'"
            )
        found = torch.autograd.grad(value.sum(), self.tensors, retain_graph=True, allow_unused=True)
        if all(part is None for part in found):
            raise ValueError(
                "params: expected tensors that the gradient reaches, got none that it does; if q "
                "is a function that makes new ones at every call, make them outside of it"
            )
        return list(found)

    def flat(self, gradient: Sequence[Tensor | None]) -> Tensor:
        """A gradient as one float64 vector `(D)`; zeros where a tensor was not reached."""
        parts = [
            torch.zeros_like(x) if g is None else g
            for x, g in zip(self.tensors, gradient, strict=True)
        ]
        return torch.cat([part.detach().cpu().double().flatten() for part in parts])

    @property
    def on_gpu(self) -> bool:
        """Whether the clock must wait for a GPU."""
        return any(x.is_cuda for x in self.tensors)

    def split(self, flat: Tensor) -> tuple[Tensor, ...]:
        """Vectors `(*, D)` by tensor."""
        return torch.split(flat, [x.numel() for x in self.tensors], -1)


@dataclass(frozen=True)
class Blocks:
    """Sums of trials, one row for each block.

    mean: the mean gradient, `(K, D)`. square: the mean squared distance of a gradient to a
    centre, `(K, S)` for S tensors. seconds: of every trial, forward and backward.
    """

    mean: Tensor
    square: Tensor
    seconds: list[float]


def seeds(seed: int, stream: int, trials: int) -> list[list[int]]:
    """A seed for every trial, by block: the same for every estimator."""
    each = trials // BLOCKS
    return [[fold_in(seed, stream, k * each + i) for i in range(each)] for k in range(BLOCKS)]


def measure(
    subject: Subject, estimator: Estimator, n: int, blocks: list[list[int]], centre: Tensor
) -> Blocks:
    """Run the trials of some blocks, each from the same state of the model and its own seed."""
    means, squares, seconds = [], [], []
    with undisturbed(subject, estimator) as state:
        for block in blocks:
            total = torch.zeros_like(centre)
            square = torch.zeros(len(subject.tensors), dtype=torch.float64)
            for seed in block:
                state.renew()
                seed_all(seed)
                gradient, took = _timed(subject, estimator, n)
                distance = subject.flat(gradient) - centre
                total += distance
                square += torch.stack([x.square().sum() for x in subject.split(distance)])
                seconds.append(took)
            means.append(centre + total / len(block))
            squares.append(square / len(block))
    return Blocks(torch.stack(means), torch.stack(squares), seconds)


def _timed(subject: Subject, estimator: Estimator, n: int) -> tuple[list[Tensor | None], float]:
    """One gradient, and the seconds from q to it."""
    start = _now(subject)
    gradient, _ = subject.gradient(estimator, n)
    return gradient, _now(subject) - start


def _now(subject: Subject) -> float:
    """The time when all that was asked for is done."""
    if subject.on_gpu:
        torch.cuda.synchronize()
    return perf_counter()


class Price(NamedTuple):
    """What one draw takes: evaluations of the cost for each batch row, and bytes at the peak."""

    evaluations: int
    memory: int


def price(subject: Subject, estimator: Estimator, n: int, seed: int) -> Price:
    """By two gradients, of which the first also warms up; raises what the estimator refuses."""
    with undisturbed(subject, estimator) as state:
        seed_all(seed)
        evaluations = subject.gradient(estimator, n)[1]
        state.renew()
        seed_all(seed)
        memory = peak_memory(lambda: subject.gradient(estimator, n), gpu=subject.on_gpu)
    return Price(evaluations, memory)
