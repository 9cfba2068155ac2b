"""The loop: batches, steps, records, checkpoints. One process or many run the same lines."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property

import torch
from torch.nn.parallel import DistributedDataParallel

from reparam.diagnostics.monitor import Monitor
from reparam.diagnostics.records import observation
from reparam.noise import fold_in
from reparam.training.averages import Averages
from reparam.training.data import Batch, Data, count, each
from reparam.training.distributed import World
from reparam.training.folder import RunError, RunFolder
from reparam.training.metrics import MetricsLog
from reparam.training.nonfinite import explain
from reparam.training.progress import Progress
from reparam.training.settings import Settings
from reparam.training.stop import Interrupted, stop_requests
from reparam.training.task import Step, Task

PROBE_EVERY = 100
"""Steps between vital signs: they cost about as much as two."""


def planned_steps(settings: Settings, data: Data) -> tuple[int, int]:
    """Steps of an epoch, the incomplete last batch left out, and of the run."""
    epoch = max(1, count(data.train) // settings.batch)
    return epoch, epoch * settings.epochs


class Run:
    """One training run: its task, its data, and all that changes from step to step.

    Every random number of step s is drawn from a generator seeded by (seed, s, process), and the
    order of an epoch's examples from (seed, epoch). So the step is the whole state of randomness,
    and a resumed run goes on bit for bit.
    """

    def __init__(
        self, task: Task, data: Data, settings: Settings, folder: RunFolder, world: World
    ) -> None:
        self.task = task.to(world.device)
        self.data, self.settings, self.folder, self.world = data, settings, folder, world
        self.optimizer = torch.optim.Adam(task.parameters(), lr=settings.lr)
        self.averages = Averages()
        self.monitor = Monitor()
        self.step = 0
        self.steps_per_epoch, self.steps = planned_steps(settings, data)

    def train(self, progress: Progress) -> dict[str, float]:
        """Train to the end from wherever the run is; the final metrics."""
        model = DistributedDataParallel(self.task) if self.world.size > 1 else self.task
        with MetricsLog(self.folder, self.world, self.step) as log, stop_requests() as stop:
            progress.start(self.steps, self.step)
            for number, batch in self.batches():
                self.take(model, number, batch, log)
                if self.step % PROBE_EVERY == 0:
                    self.examine(batch, log, progress)
                self.after(log, progress)
                if self.world.any(stop()):
                    self.save()
                    raise Interrupted(f"stopped after step {self.step} of {self.steps}")
            part, step = self.held_out()
            final = self.reduced(self.task.conclude(part, step), count(part))
            log.write({**self.place(), "split": "test", "final": True, **final})
        return final

    def batches(self) -> Iterator[tuple[int, Batch]]:
        """This process's part of every batch that is left, with its step's number."""
        rank, size, batch = self.world.rank, self.world.size, self.settings.batch
        while self.step < self.steps:
            epoch, first = divmod(self.step, self.steps_per_epoch)
            order = torch.randperm(
                count(self.data.train), generator=_seeded("cpu", self.settings.seed, epoch)
            )
            for index in range(first, self.steps_per_epoch):
                rows = order[index * batch : (index + 1) * batch][rank::size]
                examples = self.data.batch(rows, self.generator("cpu", 0))
                yield self.step, self.here(examples)

    def take(self, model: torch.nn.Module, number: int, batch: Batch, log: MetricsLog) -> None:
        """One step, unless it would leave the finite numbers."""
        loss, metrics = model(batch, Step(number, self.generator(self.world.device, 1)))
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.get_total_norm(
            [p.grad for p in self.task.parameters() if p.grad is not None]
        )
        if not math.isfinite(loss.item()) or not bool(norm.isfinite()):
            why = self.sickness(number, loss.item(), batch)
            log.write({**self.place(), "split": "failure", "final": True, "message": why})
            raise RunError(why)
        self.optimizer.step()
        self.averages.add(metrics)
        self.step += 1

    def after(self, log: MetricsLog, progress: Progress) -> None:
        """Records and checkpoints, each at its own steps."""
        progress.step(self.step, self.settings.batch)
        epoch_ends = self.step % self.steps_per_epoch == 0
        if self.step % self.settings.log_every == 0 or epoch_ends:
            means = self.reduced(self.averages.take(), weight=1)
            scheduled = self.task.settings_at(self.step - 1)
            log.write({**self.place(), "split": "train", **means, **scheduled})
            progress.training(means | scheduled)
        if epoch_ends:
            part, step = self.held_out()
            means = self.reduced(self.task.evaluate(part, step), count(part))
            log.write({**self.place(), "split": "test", **means})
            progress.tested(self.step // self.steps_per_epoch, means)
        if epoch_ends or self.step % self.settings.checkpoint_every == 0:
            self.save()

    def examine(self, batch: Batch, log: MetricsLog, progress: Progress) -> None:
        """Vital signs of the step just taken, and a warning of whatever they show first."""
        step = Step(self.step - 1, self.generator(self.world.device, 3))
        signs = self.reduced(self.task.vitals(batch, step), weight=1)
        if not signs:
            return
        signs |= self.moves
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

    def held_out(self) -> tuple[Batch, Step]:
        """This process's test examples, and the last step with this evaluation's randomness."""
        rank, size = self.world.rank, self.world.size
        part = each(self.data.test, lambda tensor: tensor[rank::size])
        return self.here(part), Step(self.step - 1, self.generator(self.world.device, 2))

    def here(self, batch: Batch) -> Batch:
        """A batch on this process's device."""
        return each(batch, lambda tensor: tensor.to(self.world.device))

    def reduced(self, means: dict[str, float], weight: int) -> dict[str, float]:
        """The means over all processes, each with the weight of its share."""
        if self.world.size == 1:
            return means
        sums = torch.tensor([weight, *(weight * v for v in means.values())], dtype=torch.float64)
        total, *values = self.world.sum(sums.to(self.world.device)).tolist()
        return {name: value / total for name, value in zip(means, values, strict=True)}

    def generator(self, device: torch.device | str, purpose: int) -> torch.Generator:
        """The randomness of this step in this process, for one purpose."""
        return _seeded(device, self.settings.seed, self.step, self.world.rank, purpose)

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
                self.task.load_state_dict(state["task"])
                self.optimizer.load_state_dict(state["optimizer"])
                self.averages.load_state_dict(state["averages"])
                self.step = int(state["step"])
            except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
                raise RunError(
                    f"{self.folder.checkpoint}: expected a checkpoint of this run's model, "
                    f"got another ({error}); delete it to start the run again"
                ) from None
        if self.world.first:
            self.folder.forget_after(self.step)
        self.world.wait()
        for record in self.folder.records():
            if record["split"] == "vitals":
                self.monitor.judge(*observation(record))

    def sickness(self, number: int, loss: float, batch: Batch) -> str:
        """What to say of a non-finite step; the parameters are still those before it."""
        step = Step(number, self.generator(self.world.device, 1))
        if self.folder.checkpoint.exists():
            kept = f"the last good checkpoint is {self.folder.checkpoint}"
        else:
            kept = "there was no checkpoint yet"
        return (
            f"step {number} (epoch {number // self.steps_per_epoch + 1}): expected a finite loss "
            f"and gradient, got loss {loss}; {explain(self.task, self.task.trace(batch, step))}; "
            f"{kept}"
        )


def _seeded(device: torch.device | str, seed: int, *numbers: int) -> torch.Generator:
    return torch.Generator(device=device).manual_seed(fold_in(seed, *numbers) % 2**63)
