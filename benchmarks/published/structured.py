"""Sorted numbers, closed gates and chosen pixels on MNIST, beside their papers.

NeuralSort: percent of sequences wholly in order, and of ranks right (Grover et al. 2019). L0 gates:
percent of test images in error, and the units left of 784-300-100 (Louizos et al. 2018). Concrete
autoencoder: mean squared error of linear regression from 50 pixels, in thousandths (Abid et al.
2019). Ours by the defaults of `reparam train sort`, `l0` and `select`, which are shorter, and for
sorting of 2-digit numbers in place of 4: so nothing is claimed, and the figures are only shown.
"""

from benchmarks.published.options import Options
from benchmarks.published.rows import Row
from benchmarks.published.trained import trained

from reparam.recipes.l0 import published
from reparam.recipes.l0.settings import L0Settings
from reparam.recipes.select.settings import SelectSettings
from reparam.recipes.select.task import PUBLISHED as SELECTED
from reparam.recipes.sort.report import PUBLISHED as SORTED
from reparam.recipes.sort.settings import SortSettings


def run(options: Options) -> list[Row]:
    """The block: half an hour, or a minute if quick."""
    rows: list[Row] = []
    for block in options.steps((sort, gates, pixels), "structured", 3):
        rows += block(options)
    return rows


def sort(options: Options) -> list[Row]:
    """Three lengths of sequences."""
    rows = []
    for n, (permutations, ranks) in SORTED.items():
        short = {"epochs": 1, "sequences": 1000} if options.quick else {}
        ours = trained(SortSettings(n=n, data=_data(options), device="cpu", **short))
        note = "theirs: 4-digit numbers, longer training"
        rows.append(
            _shown(f"sort, n = {n}: permutations", ours["permutations"], permutations, note)
        )
        rows.append(_shown(f"sort, n = {n}: ranks", ours["ranks"], ranks, note))
    return rows


def gates(options: Options) -> list[Row]:
    """LeNet-300-100, one strength for all layers."""
    short = {"epochs": 1, "batch": 1000} if options.quick else {}
    ours = trained(L0Settings(data=_data(options), device="cpu", **short))
    _, units, error = published.ROWS[0]
    left = "-".join(f"{ours[name]:.0f}" for name in ("pixels", "hidden_1", "hidden_2"))
    note = "theirs: 200 epochs"
    return [
        _shown("L0: error", ours["error"], error, note),
        Row("L0: units", left, units, None, note),
    ]


def pixels(options: Options) -> list[Row]:
    """50 of 784."""
    short = {"epochs": 1, "batch": 1000} if options.quick else {}
    ours = trained(SelectSettings(data=_data(options), device="cpu", **short))
    note = "theirs: of 10,000 images"
    return [
        _shown(f"50 pixels: {name}", ours[name], SELECTED[f"published_{name}"], note)
        for name in ("regression", "pca")
    ]


def _shown(what: str, ours: float, theirs: float, note: str) -> Row:
    return Row(what, ours, theirs, None, note)


def _data(options: Options) -> str:
    return str(options.mnist or "mnist")
