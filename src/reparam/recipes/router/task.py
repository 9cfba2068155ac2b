"""The mixture of experts as a task: its loss, its error, and who does the work."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from reparam.checks import check_tau
from reparam.data.labelled import LabelledImages, load_labelled
from reparam.models.experts import ExpertClassifier, entropy, loads
from reparam.nn import TopKRouter
from reparam.recipes.modes import anneal_to, settled
from reparam.recipes.router.settings import RouterSettings
from reparam.schedules import Schedule
from reparam.specs import schedule
from reparam.training.loop import planned_steps
from reparam.training.task import Step, Task

Batch = tuple[Tensor, Tensor]


class RouterTask(Task):
    """Cross-entropy as the cost of the router's choice, and a load-balance loss.

    balance: the weight of the latter. tau: the schedule of the router's temperature, if it has one.
    """

    causes: ClassVar[dict[str, str]] = {
        "logits": "an expert or the router overflowed; lower --lr",
        "balance": "the router overflowed; lower --lr",
        "loss": "the terms are finite and their sum is not; lower --balance",
        "gradients": "the backward pass overflowed; raise the temperature (--tau) or lower --lr",
    }

    def __init__(self, model: ExpertClassifier, balance: float, tau: Schedule | None) -> None:
        super().__init__()
        self.model = model
        self.balance = balance
        self.tau = tau

    def forward(self, batch: Batch, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        images, labels = batch
        anneal_to(step.number, self.model)
        logits, routing = self.model(images, key=step.keys)
        nats = routing.combine(cross_entropy(logits, labels, reduction="none")).mean()
        balance = routing.load_balance()
        metrics = {"nats": nats, "balance": balance}
        return nats + self.balance * balance, {k: v.detach() for k, v in metrics.items()}

    def settings_at(self, step: int) -> dict[str, float]:
        return {} if self.tau is None else {"tau": self.tau.at(step)}

    @torch.no_grad()
    def evaluate(self, held_out: Batch, step: Step) -> dict[str, float]:
        images, labels = held_out
        with settled(self):
            logits, routing = self.model(images)
        load, probs = loads(routing), routing.logits.softmax(-1)
        return {
            "error": 100 * (logits.argmax(-1) != labels).double().mean().item(),
            "nats": cross_entropy(logits, labels).item(),
            "entropy": entropy(probs).mean().item(),
            **{f"load_{i}": 100 * share for i, share in enumerate(load.tolist())},
            **{f"p_{i}": p for i, p in enumerate(probs.mean(0).tolist())},
        }

    def conclude(self, held_out: Batch, step: Step) -> dict[str, float]:
        return self.evaluate(held_out, step)

    def derived(self, means: dict[str, float]) -> dict[str, float]:
        """With the load balance of all, which is no mean over examples, for the probabilities."""
        metrics = {name: value for name, value in means.items() if name[:2] != "p_"}
        experts = range(self.model.router.linear.out_features)
        shares = [means[f"load_{i}"] / 100 * means[f"p_{i}"] for i in experts]
        return {**metrics, "balance": len(shares) * sum(shares)}

    def trace(self, batch: Batch, step: Step) -> Iterator[tuple[str, Tensor]]:
        images, labels = batch
        yield "batch images", images
        logits, routing = self.model(images, key=step.keys)
        yield "logits of the router", routing.logits
        yield "logits", logits
        balance = routing.load_balance()
        yield "balance", balance
        costs = cross_entropy(logits, labels, reduction="none")
        yield "loss", routing.combine(costs).mean() + self.balance * balance


def prepare(settings: RouterSettings) -> tuple[RouterTask, LabelledImages]:
    """The task of a run and its images."""
    data = load_labelled(settings.data)
    steps = planned_steps(settings, data)[1]
    way = None if settings.estimator.strip() == "none" else settings.estimator
    tau = _temperature(settings, steps)
    router = TopKRouter(data.train[0][0].numel(), settings.experts, settings.k, way, tau)
    model = ExpertClassifier(data.shape, data.classes, settings.hidden, router)
    task = RouterTask(model, settings.balance, tau)
    _try(task, data)
    return task, data


def _temperature(settings: RouterSettings, steps: int) -> Schedule | None:
    """The schedule of a temperature that is asked for."""
    if settings.tau == "auto":
        return None
    if "tau=" in settings.estimator:
        raise ValueError(
            f"--tau: expected one temperature, got {settings.tau} beside {settings.estimator}; "
            "leave one of them out"
        )
    tau = schedule(settings.tau, steps)
    for step in (0, steps - 1):
        check_tau(tau.at(step))
    return tau


def _try(task: RouterTask, data: LabelledImages) -> None:
    """One draw for one image, so that what does not fit fails here."""
    try:
        task.model(data.test[0][:1], generator=torch.Generator().manual_seed(0))
    except ValueError as error:
        if str(error)[:2] != "n:":
            raise
        raise ValueError(
            f"{error}; a router draws once, which suffices for score:baseline=moving-average"
        ) from None
