"""Jigsaw puzzles as a task: its loss, and how many pieces come into their places."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from reparam.checks import no_autocast
from reparam.data import Images, load
from reparam.functional import gumbel_sinkhorn
from reparam.models.jigsaw import JigsawSolver, cut, quality, scrambled, taken
from reparam.noise import Key, fold_in
from reparam.recipes.jigsaw.settings import JigsawSettings
from reparam.recipes.temperature import temperature
from reparam.schedules import Schedule
from reparam.training.loop import planned_steps
from reparam.training.task import Step, Task

PART = 100
"""Puzzles that are tested at a time."""


class JigsawTask(Task):
    """Squared error of the image that a relaxed permutation puts together, a sum over pixels.

    Batches are images `(B, C, H, W)`; their pieces are scrambled anew in every step.
    """

    causes: ClassVar[dict[str, str]] = {
        "scores": "the network overflowed; lower --lr",
        "permutations": "scores are far apart for the temperature; raise --tau or lower --lr",
        "gradients": "the backward pass overflowed; raise --tau or lower --lr",
    }

    def __init__(self, solver: JigsawSolver, tau: Schedule, settings: JigsawSettings) -> None:
        super().__init__()
        self.solver = solver
        self.tau = tau
        self.settings = settings

    def forward(self, batch: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        true = cut(batch, self.settings.side)
        given = scrambled(true, step.keys)
        permutations, residual = self._permutations(self.solver(given), step)
        loss = squared_error(permutations, given, true).mean()
        metrics = {"squared_error": loss, "residual": residual.mean()}
        return loss, {name: value.detach() for name, value in metrics.items()}

    def settings_at(self, step: int) -> dict[str, float]:
        return {"tau": self.tau.at(step)}

    @torch.no_grad()
    def evaluate(self, held_out: Tensor, step: Step) -> dict[str, float]:
        shares = zip(torch.split(held_out, PART), torch.split(step.keys, PART), strict=True)
        parts = [quality(*self.solved(images, keys)[1:]) for images, keys in shares]
        return {name: torch.cat([p[name] for p in parts]).mean().item() for name in parts[0]}

    def conclude(self, held_out: Tensor, step: Step) -> dict[str, float]:
        return self.evaluate(held_out, step)

    def trace(self, batch: Tensor, step: Step) -> Iterator[tuple[str, Tensor]]:
        yield "batch", batch
        true = cut(batch, self.settings.side)
        given = scrambled(true, step.keys)
        scores = self.solver(given)
        yield "scores", scores
        permutations, _ = self._permutations(scores, step)
        yield "permutations", permutations
        yield "loss", squared_error(permutations, given, true).mean()

    def solved(self, images: Tensor, key: Key) -> tuple[Tensor, Tensor, Tensor]:
        """Pieces `(B, n, C, h, w)` of images: scrambled, as they are put together, and true."""
        true = cut(images, self.settings.side)
        given = scrambled(true, key)
        return given, taken(given, self.solver.order(given)), true

    def _permutations(self, scores: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Relaxed permutations `(samples, B, n, n)` and the residuals of their rows."""
        copies = scores.expand(self.settings.samples, *scores.shape)
        keys = fold_in(step.keys, torch.arange(1, 1 + len(copies)).unsqueeze(1))
        tau = self.tau.at(step.number)
        return gumbel_sinkhorn(copies, tau, self.settings.iterations, key=keys)


def squared_error(permutations: Tensor, given: Tensor, true: Tensor) -> Tensor:
    """Of images put together from pieces `(B, n, C, h, w)`: `(S, B, n, n)` -> `(S, B)`."""
    with no_autocast(permutations):
        found = permutations @ given.flatten(2)
    return (found - true.flatten(2)).square().sum((-2, -1))


def prepare(settings: JigsawSettings) -> tuple[JigsawTask, Images]:
    """The task of a run and its images."""
    images = load(settings.data)
    channels, height, width = images.shape
    if settings.side > min(height, width):
        raise ValueError(
            f"--side: expected at most {min(height, width)} pieces along images of {height} x "
            f"{width} pixels, got {settings.side}"
        )
    tau = temperature(settings.tau, planned_steps(settings, images)[1])
    piece = channels, height // settings.side, width // settings.side
    solver = JigsawSolver(piece, settings.side**2, settings.hidden)
    solver.order(torch.zeros(1, settings.side**2, *piece))  # without SciPy, it fails here
    return JigsawTask(solver, tau, settings), images
