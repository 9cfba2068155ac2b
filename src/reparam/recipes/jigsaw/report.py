"""What a run of jigsaw puzzles shows: how many are solved, and what the others look like."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from reparam.data import Images
from reparam.models.jigsaw import joined
from reparam.recipes.jigsaw.task import JigsawTask
from reparam.report.curves import Record
from reparam.report.page import Section, picture
from reparam.report.pictures import data_uri, grid
from reparam.report.sections import last_test, learning, results, schedule
from reparam.schedules import Constant

SHOWN = 12
TRIED = 100
"""Puzzles among which unsolved ones are looked for."""


def sections(task: JigsawTask, images: Images, records: Sequence[Record]) -> Iterator[Section]:
    """The sections of the report of a run, from its records and its trained model."""
    device = next(task.parameters()).device
    given, found, true = task.solved(images.test[:TRIED].to(device), key=0)
    yield _results(images, records)
    yield _learning(records)
    if not isinstance(task.tau, Constant):
        yield from schedule(records, "temperature", "tau")
    note = "Above, held-out images in pieces; then, put together; below, as they were."
    yield _puzzles("Puzzles", note, given, found, true)
    unsolved = (found != true).flatten(1).any(-1)
    if unsolved.any():
        count = int(unsolved.sum())
        note = f"Of {len(true)} held-out images {count} are not solved: some of these, likewise."
        parts = (pieces[unsolved] for pieces in (given, found, true))
        yield _puzzles("Unsolved puzzles", note, *parts)


def _results(images: Images, records: Sequence[Record]) -> Section:
    remarks = {
        "pieces": "percent of places that show the right piece; identical pieces count as one",
        "solved": "percent of images of which every place does",
        "kendall_tau": "rank correlation of the pieces with their places, from -1 to 1",
        "l1": "mean absolute error of a pixel, percent of white",
        "l2": "root mean square error of a pixel, percent of white",
    }
    note = (
        f"{len(images.test):,} held-out images, put together by the best matching, without noise. "
        "These are the measures of Mena et al. 2018, arXiv:1802.08665, whose network looks at "
        "every piece by itself too."
    )
    return results(last_test(records), remarks, note)


def _learning(records: Sequence[Record]) -> Section:
    right = {"test, pieces": ("test", "pieces"), "test, solved": ("test", "solved")}
    return learning(
        records,
        {
            "percent right": right,
            "squared error of an image": {"training": ("train", "squared_error")},
            "|row sum - 1|, the largest of a puzzle": {"training": ("train", "residual")},
        },
    )


def _puzzles(title: str, note: str, *rows: Tensor) -> Section:
    """A picture of pieces `(B, n, C, h, w)`: a column for each puzzle, a row for each state."""
    shown = [joined(pieces[:SHOWN]) for pieces in rows]
    uri = data_uri(grid(torch.cat(shown), len(shown[0])))
    return Section(title, note, picture(uri, title.lower(), pixels=75 * len(shown[0])))
