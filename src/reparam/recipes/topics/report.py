"""What a topic model's run shows: what the topics are, and whether they are worth having."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from reparam.data.text import Corpus
from reparam.models.coherence import coherence, diversity
from reparam.models.topics import TopicModel, unigram_nats
from reparam.recipes.topics.task import TopicsTask
from reparam.report.curves import Record, heat
from reparam.report.page import Section, plot, table
from reparam.report.sections import last_test, learning, results

SHOWN = 12
IDLE = 0.2
"""A topic is unused below this part of an even share."""
HELPS = 0.95
"""Topics help if they lower the perplexity of single words to this part of it."""


def sections(task: TopicsTask, corpus: Corpus, records: Sequence[Record]) -> Iterator[Section]:
    """The sections of the report of a run, from its records and its trained model."""
    model = task.model
    yield _results(corpus, records)
    yield _learning(records)
    yield _topics(model, corpus)
    yield _documents(model, corpus)


def _results(corpus: Corpus, records: Sequence[Record]) -> Section:
    metrics = last_test(records)
    unigram = math.exp(unigram_nats(corpus.train, corpus.test))
    if "nats_per_word" in metrics:
        metrics["perplexity"] = math.exp(metrics["nats_per_word"])
    metrics["unigram perplexity"] = unigram
    remarks = {
        "bound": "nats per document, one sample: a lower bound on log p(words); larger is better",
        "kl": "KL(q(theta|words) || p(theta)), part of the bound: what a document says of itself",
        "nats_per_word": "-bound / words",
        "perplexity": "exp of the former, an upper bound on the perplexity; smaller is better",
        "unigram perplexity": "where every document has the frequencies of the training set",
        "coherence": "NPMI of the topics' ten words in training documents, from -1 to 1",
        "diversity": "share of distinct words among those of all topics",
    }
    note = f"{len(corpus.test):,} held-out documents.{_worth(metrics)}"
    return results(metrics, remarks, note)


def _worth(metrics: dict[str, float]) -> str:
    """Said if the topics are not worth having."""
    if metrics.get("perplexity", 0) < HELPS * metrics["unigram perplexity"]:
        return ""
    return (
        " The topics do not help: the perplexity is that of single words, and the posterior the "
        "prior (component collapse). Train longer, lower --lr, or let the KL grow: "
        "--kl-weight linear:start=0,end=1."
    )


def _learning(records: Sequence[Record]) -> Section:
    bounds = {"training": ("train", "bound"), "test": ("test", "bound")}
    kl = {"training": ("train", "kl"), "test": ("test", "kl")}
    return learning(records, {"bound, nats per document": bounds, "KL, nats": kl})


def _topics(model: TopicModel, corpus: Corpus) -> Section:
    top, weights = model.top_words().cpu(), corpus.train.sum(1)
    shares = weights @ _shares(model, corpus.train) / weights.sum()
    scores = coherence(corpus.train, top)
    rows = [
        (f"{k}", f"{shares[k]:.1%}", f"{_said(top[k], corpus)} ({scores[k]:.2f})")
        for k in shares.argsort(descending=True).tolist()
    ]
    note = (
        "The most probable words of each topic, its share of the training words, and in brackets "
        f"its coherence.{_idle(shares)}{_alike(top)}"
    )
    return Section("Topics", note, table(rows))


def _shares(model: TopicModel, counts: Tensor) -> Tensor:
    return model.shares(counts.to(model.topics.device)).cpu()


def _said(words: Tensor, corpus: Corpus) -> str:
    return " ".join(corpus.words[i] for i in words.tolist())


def _idle(shares: Tensor) -> str:
    idle = int((shares < IDLE / len(shares)).sum())
    if not idle:
        return ""
    return (
        f" {idle} of {len(shares)} topics are unused: they have less than a fifth of an even "
        "share, and their words mean little. Ask for fewer --topics, or raise --alpha."
    )


def _alike(top: Tensor) -> str:
    if diversity(top) >= 0.5:
        return ""
    return (
        " Topics repeat each other's words (component collapse): train longer, lower --lr, or "
        "lower --max-share, so that words of every document are left out."
    )


def _documents(model: TopicModel, corpus: Corpus) -> Section:
    shares = _shares(model, corpus.test[:SHOWN])
    figure = heat(shares.tolist(), "topic, as numbered above", "held-out document", "share")
    few = torch.special.entr(shares).sum(-1).exp().mean()
    note = f"On average, each is spread over {few:.1f} of {shares.shape[1]} topics (perplexity)."
    return Section("Topics of some documents", note, plot(figure))
