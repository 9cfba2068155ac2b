"""The loop: batches, steps, records, checkpoints. One process or many run the same lines."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from reparam.diagnostics.monitor import Monitor
from reparam.diagnostics.records import observation
from reparam.noise import fold_in
from reparam.training.averages import Averages
from reparam.training.buffers import Buffers
from reparam.training.data import Batch, Data, count, each
from reparam.training.distributed import World, local, together
from reparam.training.folder import RunError, RunFolder
from reparam.training.metrics import MetricsLog, Trackers
from reparam.training.nonfinite import explain
from reparam.training.progress import Progress
from reparam.training.settings import Settings
from reparam.training.stop import Interrupted
from reparam.training.task import Step, Task

PROBE_EVERY = 100
"""Steps between vital signs: they cost about as much as two."""
PROBED = 128
"""Examples of the batch that they are taken of."""
PIXELS, NOISE, TEST, VITALS = range(4)
"""What a step draws random numbers for."""


def planned_steps(settings: Settings, data: Data) -> tuple[int, int]:
    """Steps of an epoch, the incomplete last batch left out, and of the run."""
    epoch = max(1, count(data.train) // settings.batch)
    return epoch, epoch * settings.epochs


class Run:
    """One training run: its task, its data, and all that changes from step to step.

    Every random number of step s is keyed by (seed, s, purpose, place in the batch), and the order
    of an epoch's examples by (seed, epoch). So the step is the whole state of randomness: a resumed
    run goes on bit for bit, and any number of processes draws what one would.

    accumulate: parts that each process takes its share of a batch in.
    trackers: what else is told the metrics, as `MetricsLog` takes them.
    """

    def __init__(
        self,
        task: Task,
        data: Data,
        settings: Settings,
        folder: RunFolder,
        world: World,
        *,
        accumulate: int = 1,
        trackers: Trackers = MappingProxyType({}),
    ) -> None:
        self.task = task.to(world.device)
        self.data, self.settings, self.folder, self.world = data, settings, folder, world
        self.accumulate, self.trackers = accumulate, trackers
        self.optimizer = torch.optim.Adam(task.parameters(), lr=settings.lr)
        self.averages = Averages()
        self.monitor = Monitor()
        self.step = 0
        self.steps_per_epoch, self.steps = planned_steps(settings, data)

    def train(self, progress: Progress) -> dict[str, float]:
        """Train to the end from wherever the run is; the final metrics."""
        model = together(self.task) if self.world.size > 1 else self.task
        log = MetricsLog(self.folder, self.world, self.trackers, progress.warning)
        progress.start(self.steps, self.step)
        for chosen in self.batches():
            self.take(model, chosen, log)
            if self.step % PROBE_EVERY == 0 and self.world.first:
                self.examine(chosen, log, progress)
            self.after(log, progress)
            if self.world.any(self.world.stop()):
                self.save()
                raise Interrupted(f"stopped after step {self.step} of {self.steps}")
        final = self.tested(self.task.conclude)
        log.write({**self.place(), "split": "test", "final": True, **final})
        return final

    def batches(self) -> Iterator[Tensor]:
        """The examples of every batch that is left, by their places in the training set."""
        size = self.settings.batch
        while self.step < self.steps:
            epoch, first = divmod(self.step, self.steps_per_epoch)
            seed = fold_in(self.settings.seed, epoch) % 2**63
            generator = torch.Generator().manual_seed(seed)
            order = torch.randperm(count(self.data.train), generator=generator)
            for index in range(first, self.steps_per_epoch):
                yield order[index * size : (index + 1) * size]

    def parts(self, chosen: Tensor) -> list[Tensor]:
        """This process's share of a batch in parts, by their places in the batch."""
        share = self.world.mine(len(chosen))
        return list(share.tensor_split(min(self.accumulate, len(share))))

    def seen(self, number: int, chosen: Tensor, rows: Tensor) -> Batch:
        """These rows of a batch, as a step is to see them."""
        keys = fold_in(self.key(number, PIXELS), rows)
        return self.here(self.data.batch(chosen[rows], keys))

    def at(self, number: int, purpose: int, rows: Tensor) -> Step:
        """A step, and what it is to draw now."""
        return Step(number, self.key(number, purpose), rows.to(self.world.device))

    def key(self, number: int, purpose: int) -> int:
        """The randomness of a step for one purpose."""
        return fold_in(self.settings.seed, number, purpose)

    def take(self, model: torch.nn.Module, chosen: Tensor, log: MetricsLog) -> None:
        """One step, unless it would leave the finite numbers."""
        self.optimizer.zero_grad()
        buffers = Buffers(self.task)
        totals = []
        parts = self.parts(chosen)
        for rows in parts:
            share = len(rows) / len(chosen)
            buffers.restore()
            with local(model, rows is not parts[-1]):
                with self.autocast():
                    batch = self.seen(self.step, chosen, rows)
                    loss, metrics = model(batch, self.at(self.step, NOISE, rows))
                (share * loss).backward()
            self.averages.add(metrics, share)
            totals.append(share * torch.cat([loss.detach().double().view(1), *buffers.moves()]))
        own = torch.stack(totals).sum(0)
        whole = self.world.sum(own.clone())
        norm = torch.nn.utils.get_total_norm(
            [p.grad for p in self.task.parameters() if p.grad is not None]
        )
        if not bool(whole[0].isfinite() & norm.isfinite()):
            buffers.restore()
            why = self.sickness(chosen, own[0].item(), whole[0].item())
            log.write({**self.place(), "split": "failure", "final": True, "message": why})
            raise RunError(why)
        buffers.move(whole[1:])
        self.optimizer.step()
        self.averages.step()
        self.step += 1

    def autocast(self) -> AbstractContextManager[object]:
        """The precision of the forward pass."""
        half = self.settings.precision == "bf16"
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=half)

    def after(self, log: MetricsLog, progress: Progress) -> None:
        """Records and checkpoints, each at its own steps."""
        progress.step(self.step, self.settings.batch)
        epoch_ends = self.step % self.steps_per_epoch == 0
        if self.step % self.settings.log_every == 0 or epoch_ends:
            means = self.averages.take(self.world)
            scheduled = self.task.settings_at(self.step - 1)
            log.write({**self.place(), "split": "train", **means, **scheduled})
            progress.training(means | scheduled)
        if epoch_ends:
            means = self.tested(self.task.evaluate)
            log.write({**self.place(), "split": "test", **means})
            progress.tested(self.step // self.steps_per_epoch, means)
        if epoch_ends or self.step % self.settings.checkpoint_every == 0:
            self.save()

    def examine(self, chosen: Tensor, log: MetricsLog, progress: Progress) -> None:
        """Vital signs of the step just taken, and a warning of whatever they show first."""
        number, rows = self.step - 1, torch.arange(len(chosen))[:PROBED]
        batch = self.seen(number, chosen, rows)
        signs = self.task.vitals(batch, self.at(number, VITALS, rows)) | self.moves
        if not signs:
            return
        log.write({**self.place(), "split": "vitals", **signs})
        for diagnosis in self.monitor.judge(self.step, signs):
            log.write({**self.place(), "split": "warning", **diagnosis.asdict()})
            progress.warning(str(diagnosis))

    @cached_property
    def moves(self) -> dict[str, float]:
        """How far each schedule that was asked for moves in the run, over its largest value."""
        asked = asdict(self.settings)
        values = [self.task.settings_at((self.steps - 1) * k // 64) for k in range(65)]
        moves = {}
        for name in values[0].keys() & asked.keys():
            least, *_, most = sorted(value[name] for value in values)
            if ":" in str(asked[name]) and most > 0:
                moves[f"{name}_moves"] = (most - least) / most
        return moves

    def place(self) -> dict[str, float]:
        """Where in the run a record belongs."""
        return {"step": self.step, "epoch": round(self.step / self.steps_per_epoch, 4)}

    def tested(self, measure: Callable[[Batch, Step], dict[str, float]]) -> dict[str, float]:
        """What a task measures of the test set, of which each process sees a share."""
        part, step = self.held_out()
        means = measure(part, step)
        own = torch.tensor([*means.values(), 1.0], dtype=torch.float64) * count(part)
        *sums, total = self.world.sum(own.to(self.world.device)).tolist()
        return self.task.derived(dict(zip(means, (s / total for s in sums), strict=True)))

    def held_out(self) -> tuple[Batch, Step]:
        """This process's test examples, and the last step with this test's randomness."""
        rank, size = self.world.rank, self.world.size
        part = each(self.data.test, lambda tensor: tensor[rank::size])
        rows = self.world.mine(count(self.data.test))
        return self.here(part), self.at(self.step - 1, TEST, rows)

    def here(self, batch: Batch) -> Batch:
        """A batch on this process's device."""
        return each(batch, lambda tensor: tensor.to(self.world.device))

    def save(self) -> None:
        """Write the checkpoint, in the first process."""
        averages = self.averages.state_dict(self.world)
        if self.world.first:
            self.folder.save(
                {
                    "step": self.step,
                    "task": self.task.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "averages": averages,
                }
            )
        self.world.wait()

    def resume(self) -> None:
        """Go back to the checkpoint, if there is one, and forget the records after it."""
        state = self.folder.load(self.world.device)
        if state is not None:
            try:
                self.restore(state)
            except Exception as error:  # noqa: BLE001 (another's state fails in many ways)
                raise RunError(
                    f"{self.folder.checkpoint}: expected a checkpoint of this run's model, "
                    f"got another ({error}); delete it to start the run again"
                ) from None
        if len(set(self.world.every(self.step))) > 1:
            raise RunError(
                f"{self.folder.path}: expected a run folder that all machines see, got other "
                "checkpoints on other machines; put it on storage that they share"
            )
        if self.world.first:
            self.folder.forget_after(self.step)
        self.world.wait()
        for record in self.folder.records():
            if record["split"] == "vitals":
                self.monitor.judge(*observation(record))

    def restore(self, state: dict[str, Any]) -> None:
        """What `save` wrote."""
        self.task.load_state_dict(state["task"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.averages.load_state_dict(dict(state["averages"]), self.world)
        self.step = int(state["step"])
        if not 0 <= self.step <= self.steps:
            raise ValueError(f"step {self.step} of {self.steps}")

    def sickness(self, chosen: Tensor, own: float, loss: float) -> str:
        """What to say of a non-finite step; the parameters are still those before it.

        own: this process's part of the loss. The first process whose part is not finite knows.
        """
        number, task = self.step, self.task
        trace = (
            tensors
            for rows in self.parts(chosen)
            for tensors in task.trace(self.seen(number, chosen, rows), self.at(number, NOISE, rows))
        )
        with self.autocast():
            why = explain(task, trace)
        _, why = min(self.world.every((math.isfinite(own), why)), key=lambda said: said[0])
        if self.folder.checkpoint.exists():
            kept = f"the last good checkpoint is {self.folder.checkpoint}"
        else:
            kept = "there was no checkpoint yet"
        return (
            f"step {number} (epoch {number // self.steps_per_epoch + 1}): expected a finite loss "
            f"and gradient, got loss {loss}; {why}; {kept}"
        )
