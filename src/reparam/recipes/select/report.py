"""What a run of the selecting autoencoder shows: which pixels, and what they tell."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from reparam.data import Images
from reparam.recipes.modes import settled
from reparam.recipes.select.task import SelectTask, published
from reparam.report.curves import Record
from reparam.report.page import Section, picture
from reparam.report.pictures import data_uri, grid
from reparam.report.sections import last_test, learning, results, schedule

SHOWN, COLUMNS = 40, 10


def sections(task: SelectTask, images: Images, records: Sequence[Record]) -> Iterator[Section]:
    """The sections of the report of a run, from its records and its trained model."""
    yield _results(task, images, records)
    yield _learning(records)
    yield from schedule(records, "temperature", "tau")
    yield _pixels(task, images)
    yield _reconstructions(task, images)


def _results(task: SelectTask, images: Images, records: Sequence[Record]) -> Section:
    k = task.model.selector.k
    remarks = {
        "decoder": f"of the network that was trained with the selection, from the {k} pixels",
        "regression": f"of linear regression from the {k} pixels: the published measure",
        "decided": "percent of a random selection that is in the final one",
        "random": f"of linear regression from {k} pixels at random, mean of 10",
        "pca": f"of {k} principal components, numbers that see every pixel",
        "published_regression": "of the concrete autoencoder of Abid et al. 2019",
        "published_pca": "of PCA there",
    }
    note = f"Mean squared error of {len(images.test):,} test images, in thousandths (white is 1)."
    if published(images, k):
        note += (
            " The published errors are of 6,000 of these test images, regressions and components "
            "learned from the other 4,000, by the code of the paper."
        )
    return results(last_test(records), remarks, note)


def _learning(records: Sequence[Record]) -> Section:
    errors = {
        "training, random pixels": ("train", "decoder"),
        "test, the likeliest pixels": ("test", "decoder"),
        "test, linear regression": ("test", "regression"),
    }
    figures = {"error, thousandths": errors, "decided, percent": {"test": ("test", "decided")}}
    return learning(records, figures)


def _pixels(task: SelectTask, images: Images) -> Section:
    selector = task.model.selector
    chosen = torch.zeros(images.train[0].numel())
    chosen[selector.selected.cpu()] = 1
    mean = images.train.mean(0)
    pair = _grid(chosen.view(images.shape)[:1].unsqueeze(0), "selected pixels", 1)
    pair += _grid(mean.unsqueeze(0), "mean of the training images", 1)
    note = f"The {len(selector.selected)} pixels that are kept, and the mean image to compare."
    return Section("Pixels", note, f'<div class="pair">{pair}</div>')


def _reconstructions(task: SelectTask, images: Images) -> Section:
    shown = images.test[:SHOWN]
    with settled(task):
        decoded = task.model(shown.to(task.model.selector.logits.device)).cpu()
    pair = _grid(shown, "originals", COLUMNS) + _grid(decoded, "reconstructions", COLUMNS)
    note = "Test images on the left; what the decoder makes of their selected pixels on the right."
    return Section("Reconstructions", note, f'<div class="pair">{pair}</div>')


def _grid(images: Tensor, label: str, columns: int) -> str:
    return picture(data_uri(grid(images, columns)), label, pixels=440)
