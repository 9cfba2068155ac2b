"""What a run of the classifier shows: what is left, and what that costs."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from time import perf_counter

from torch import Tensor, nn

from reparam.data.labelled import LabelledImages
from reparam.models.lenet import L0LeNet, dense, linear_widths, weights
from reparam.nn import prune
from reparam.recipes.l0.published import ROWS, published
from reparam.recipes.l0.task import NAMES, L0Task, left
from reparam.report.curves import Record
from reparam.report.page import Section, picture, table
from reparam.report.pictures import data_uri
from reparam.report.sections import last_test, learning, results

REPEATS, TIMED = 30, 1000


def sections(task: L0Task, data: LabelledImages, records: Sequence[Record]) -> Iterator[Section]:
    """The sections of the report of a run, from its records and its trained model."""
    small = prune(task.network.layers).eval()
    yield _results(data, records)
    yield _pruned(task.network, small, data, last_test(records))
    yield _learning(records)
    yield _pixels(task.network, data)


def _results(data: LabelledImages, records: Sequence[Record]) -> Section:
    remarks = {
        "error": "percent of test images, with the gates of eval mode",
        "pixels": "open in eval mode",
        "hidden_1": "open units of the first hidden layer",
        "hidden_2": "and of the second",
        "l0": "expected weights behind an open gate, percent of all: what the loss counts",
        "multiplications": "expected for an image, percent: by open inputs and open outputs",
        "pruned_error": "of the smaller network without gates",
        "pruned_weights": "of the smaller network, percent",
    }
    metrics = {k: v for k, v in last_test(records).items() if not k.startswith("published")}
    return results(metrics, remarks, f"{len(data.test[0]):,} test images.")


def _pruned(
    network: L0LeNet, small: nn.Sequential, data: LabelledImages, metrics: dict[str, float]
) -> Section:
    """The network that is left, beside those published if the data is theirs."""
    whole = linear_widths(network.layers)
    rows = [("this run", left(small), f"{metrics.get('pruned_error', float('nan')):.2f} % error")]
    if published(data):
        rows += [(name, widths, f"{error} % error") for name, widths, error in ROWS]
    slow, fast = (
        seconds(net, data.test[0][:TIMED]) for net in (dense([*whole, data.classes]), small)
    )
    note = (
        f"Units that are left of {left(network.layers)}, by layer. Pruned, {weights(small):,} of "
        f"{weights(network.layers):,} weights remain, and {min(TIMED, len(data.test[0])):,} images "
        f"take {1000 * fast:.2f} ms on this CPU in place of {1000 * slow:.2f} ms without gates: "
        f"{slow / fast:.1f} times as fast."
    )
    return Section("What is left", note, table(rows))


def seconds(network: nn.Module, images: Tensor) -> float:
    """The least time of a forward on the CPU."""
    network, images = deepcopy(network).cpu(), images.cpu()

    def once() -> float:
        start = perf_counter()
        network(images)
        return perf_counter() - start

    return min(once() for _ in range(REPEATS))


def _learning(records: Sequence[Record]) -> Section:
    shares = {
        "weights behind an open gate": ("test", "l0"),
        "multiplications": ("test", "multiplications"),
    }
    figures = {
        "error, percent": {"test": ("test", "error")},
        "cross-entropy, nats": {"training": ("train", "nats")},
        "expected, percent": shares,
        "open": {name.replace("_", " "): ("test", name) for name in NAMES},
    }
    return learning(records, figures)


def _pixels(network: L0LeNet, data: LabelledImages) -> Section:
    gates = network.gated[0].gate.evaluated().view(data.shape)
    uri = data_uri(gates.mean(0, keepdim=True))
    note = f"The gates of the pixels in eval mode, closed ones black: {network.widths()[0]} open."
    return Section("Pixels", note, picture(uri, "gates of the pixels", pixels=280))
