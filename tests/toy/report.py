"""What the toy shows."""

from collections.abc import Iterator, Sequence

import torch

from reparam.report.curves import Record
from reparam.report.page import Section
from reparam.report.sections import last_test, learning, results, schedule
from toy.task import Classifier, Documents


def sections(task: Classifier, data: Documents, records: Sequence[Record]) -> Iterator[Section]:
    """All kinds that recipes share, one that the run does not have, and one of its own."""
    yield results(last_test(records), {"right": "<percent>"}, "Of held-out documents.")
    yield learning(records, {"nats": {"training": ("train", "nats")}})
    yield from schedule(records, "noise", "noise")
    yield from schedule(records, "temperature", "tau")
    weights = task.linear(torch.ones(1, task.linear.in_features))
    yield Section("Gradients", str(weights.requires_grad), "")
