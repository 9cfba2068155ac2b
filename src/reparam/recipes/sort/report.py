"""What a run that sorts shows: how much is in order, beside the published, and what is confused."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from reparam.models.sorting import confusion, right_ranks
from reparam.recipes.sort.numbers import Numbers
from reparam.recipes.sort.task import SortTask
from reparam.report.curves import Record, heat
from reparam.report.page import Section, picture, plot
from reparam.report.pictures import data_uri, grid
from reparam.report.sections import last_test, learning, results, schedule
from reparam.schedules import Constant

SHOWN = 10
PUBLISHED = {3: (91.9, 94.5), 5: (77.7, 90.1), 7: (61.0, 86.2)}
"""Permutations and ranks, in percent, by n: deterministic NeuralSort on 4-digit MNIST in
Grover et al. 2019, arXiv:1903.08850."""


def sections(task: SortTask, numbers: Numbers, records: Sequence[Record]) -> Iterator[Section]:
    """The sections of the report of a run, from its records and its trained model."""
    images, values = numbers.test
    order = task.order(images.to(next(task.parameters()).device)).cpu()
    yield _results(numbers, records)
    yield _learning(records)
    if not isinstance(task.tau, Constant):
        yield from schedule(records, "temperature", "tau")
    yield _sequences(images[:SHOWN], values[:SHOWN], order[:SHOWN])
    yield _confusion(values, order)


def _results(numbers: Numbers, records: Sequence[Record]) -> Section:
    metrics = last_test(records)
    if numbers.n in PUBLISHED:
        permutations, ranks = PUBLISHED[numbers.n]
        metrics |= {"published permutations": permutations, "published ranks": ranks}
    remarks = {
        "permutations": "percent of sequences that are wholly in order",
        "ranks": "percent of places that hold a number as large as belongs there",
        "published permutations": (
            "deterministic NeuralSort, Grover et al. 2019, for as many numbers, of 4 digits of "
            "MNIST, after longer training"
        ),
        "published ranks": "the same",
    }
    note = f"{len(numbers.test[1]):,} sequences of held-out images, sorted by the network's scores."
    return results(metrics, remarks, note)


def _learning(records: Sequence[Record]) -> Section:
    return learning(
        records,
        {
            "percent right": {
                "test, permutations": ("test", "permutations"),
                "training, permutations": ("train", "permutations"),
                "test, ranks": ("test", "ranks"),
                "training, ranks": ("train", "ranks"),
            },
            "cross-entropy of a place, nats": {"training": ("train", "nats")},
        },
    )


def _sequences(images: Tensor, values: Tensor, order: Tensor) -> Section:
    index = order[..., None, None, None].expand(images.shape)
    pictures = _grid(images, "as given") + _grid(images.gather(1, index), "as sorted")
    wrong = (~right_ranks(values, order).all(-1)).nonzero().flatten() + 1
    rows = ", ".join(map(str, wrong.tolist())) or "none"
    note = (
        "Held-out sequences, one in each row: as given on the left, as the network sorts them, "
        f"the largest first, on the right. Rows that are not in order: {rows}."
    )
    return Section("Sequences", note, f'<div class="pair">{pictures}</div>')


def _confusion(values: Tensor, order: Tensor) -> Section:
    shares = confusion(values, order).tolist()
    figure = heat(shares, "place that it belongs in, from 0", "place", "share")
    note = (
        "Where the number that is put in a place belongs: on the diagonal, if it is right. Equal "
        "numbers belong in their places in equal shares."
    )
    return Section("Confusion of ranks", note, plot(figure))


def _grid(sequences: Tensor, label: str) -> str:
    uri = data_uri(grid(sequences.flatten(0, 1), sequences.shape[1]))
    return picture(uri, label, pixels=440)
