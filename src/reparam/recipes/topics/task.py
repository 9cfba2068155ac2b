"""The topic model as a task: its loss, its bound, and what its topics are worth."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from reparam.core import Estimator
from reparam.data.text import Corpus, load_corpus
from reparam.models.coherence import coherence, diversity
from reparam.models.topics import TopicModel, topic_bound
from reparam.recipes.topics.settings import TopicsSettings
from reparam.schedules import Schedule
from reparam.specs import estimator, schedule
from reparam.training.loop import planned_steps
from reparam.training.task import Step, Task


class TopicsTask(Task):
    """-ELBO of a document's words, with the KL weighted by a schedule.

    The estimator's own modules (baselines) are submodules: one optimizer trains them, and
    checkpoints hold them.
    """

    causes: ClassVar[dict[str, str]] = {
        "concentration": "the encoder overflowed; lower --lr",
        "points": "concentrations became too small or too large; raise --alpha or lower --lr",
        "costs": "the topics overflowed; lower --lr",
        "kl": "concentrations became too small or too large; raise --alpha or lower --lr",
        "loss": "the terms are finite and their sum is not; lower --kl-weight",
        "gradients": "the backward pass overflowed; raise --alpha or lower --lr",
    }

    def __init__(
        self,
        model: TopicModel,
        estimator: Estimator,
        kl_weight: Schedule,
        samples: int,
        corpus: Corpus,
    ) -> None:
        super().__init__()
        self.model = model
        self.estimator = estimator
        self.kl_weight = kl_weight
        self.samples = samples
        self.corpus = corpus
        self.control = nn.ModuleDict(estimator.modules())

    def forward(self, batch: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        terms = self.model(batch, self.estimator, self.samples, key=step.keys)
        kl = terms.kl.sum(-1).mean()
        loss = terms.reconstruction.mean() + self.kl_weight.at(step.number) * kl
        return loss, {"bound": terms.objective().mean().detach(), "kl": kl.detach()}

    def settings_at(self, step: int) -> dict[str, float]:
        return {"kl_weight": self.kl_weight.at(step)}

    def evaluate(self, held_out: Tensor, step: Step) -> dict[str, float]:
        bound, kl = topic_bound(self.model, held_out, key=step.keys)
        # By the words of all held-out documents, not of this share: its mean is then the whole's.
        words = self.corpus.test.sum(1).mean().item()
        return {"bound": bound, "kl": kl, "nats_per_word": -bound / words}

    def conclude(self, held_out: Tensor, step: Step) -> dict[str, float]:
        top = self.model.top_words().cpu()
        quality = coherence(self.corpus.train, top).mean().item()
        return {
            **self.evaluate(held_out, step),
            "coherence": quality,
            "diversity": diversity(top),
        }

    def trace(self, batch: Tensor, step: Step) -> Iterator[tuple[str, Tensor]]:
        yield "batch", batch
        q = self.model.posterior(batch)
        yield "concentration", q.concentration
        points, combine = self.estimator.draw(q, self.samples, key=step.keys)
        yield "points", points
        costs = self.model.costs(batch, q, points, self.estimator)
        yield "costs", costs
        kl = self.model.kl(q)
        yield "kl", kl
        yield "loss", combine(costs).mean() + self.kl_weight.at(step.number) * kl.mean()


def prepare(settings: TopicsSettings) -> tuple[TopicsTask, Corpus]:
    """The task of a run and its documents."""
    way = estimator(settings.estimator)
    if way.multisample and settings.kl_weight != "1":
        raise ValueError(
            "--kl-weight: expected none with a multi-sample bound, whose KL is not a term of its "
            f"own, got {settings.kl_weight}; leave it out"
        )
    corpus = load_corpus(
        settings.data,
        vocabulary=settings.vocabulary,
        min_documents=settings.min_documents,
        max_share=settings.max_share,
    )
    weight = schedule(settings.kl_weight, planned_steps(settings, corpus)[1])
    model = TopicModel(len(corpus.words), settings.topics, settings.hidden, settings.alpha)
    _try(way, model, settings.samples)
    return TopicsTask(model, way, weight, settings.samples, corpus), corpus


def _try(way: Estimator, model: TopicModel, samples: int) -> None:
    """One draw, so that an estimator that does not serve the posterior fails before training."""
    q = model.posterior(model.topics.detach().new_ones(1, model.topics.shape[1]))
    try:
        way.draw(q, samples, generator=torch.Generator().manual_seed(0))
    except ValueError as error:
        raise ValueError(
            f"{error} (--samples sets n)" if str(error)[:2] == "n:" else error
        ) from None
