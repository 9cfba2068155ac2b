"""What a run of the mixture of experts shows: how good it is, and who does what."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from reparam.data.labelled import LabelledImages
from reparam.models.experts import loads_by_class
from reparam.recipes.modes import settled
from reparam.recipes.router.task import RouterTask
from reparam.report.curves import Record, heat
from reparam.report.page import Section, plot
from reparam.report.sections import last_test, learning, results, schedule

IDLE = 0.1
"""An expert is idle below this part of an even share."""


def sections(
    task: RouterTask, data: LabelledImages, records: Sequence[Record]
) -> Iterator[Section]:
    """The sections of the report of a run, from its records and its trained model."""
    usage = _usage(task, data)
    yield _results(data, records)
    yield _learning(records)
    yield from schedule(records, "temperature", "tau")
    yield _load(records, len(usage[0]))
    yield Section(
        "Use by class",
        "Where the test images of each class go, each row of shares summing to 1.",
        plot(heat(usage.tolist(), "expert", "class", "share")),
    )


def _usage(task: RouterTask, data: LabelledImages) -> Tensor:
    device = next(task.parameters()).device
    images, labels = (part.to(device) for part in data.test)
    with settled(task):
        routing = task.model(images)[1]
    return loads_by_class(routing, labels, data.classes).cpu()


def _results(data: LabelledImages, records: Sequence[Record]) -> Section:
    remarks = {
        "error": "percent of test images, each sent to its best experts",
        "nats": "cross-entropy of an image",
        "entropy": "of an image's probabilities of experts, nats: 0 where the router is sure",
        "balance": "load-balance loss, 1 where the load is even",
    }
    metrics = last_test(records)
    share = {name: value for name, value in metrics.items() if name.startswith("load_")}
    remarks |= dict.fromkeys(share, "percent of the choices")
    idle = sum(value < 100 * IDLE / len(share) for value in share.values())
    note = f"{len(data.test[0]):,} test images."
    if idle:
        note += (
            f" {idle} of {len(share)} experts are idle: they have less than a tenth of an even "
            "share. Raise --balance, or ask for fewer --experts."
        )
    return results(metrics, remarks, note)


def _learning(records: Sequence[Record]) -> Section:
    figures = {
        "error, percent": {"test": ("test", "error")},
        "cross-entropy, nats": {"training": ("train", "nats"), "test": ("test", "nats")},
        "balance loss": {"training": ("train", "balance"), "test": ("test", "balance")},
        "entropy of the routing, nats": {"test": ("test", "entropy")},
    }
    return learning(records, figures)


def _load(records: Sequence[Record], experts: int) -> Section:
    tests = [r for r in records if r["split"] == "test" and not r.get("final")]
    shares = [[r[f"load_{i}"] for r in tests] for i in range(experts)]
    note = "Percent of the choices for test images that fall on each expert, after every epoch."
    return Section("Load", note, plot(heat(shares, "epoch, from 0", "expert", "percent")))
