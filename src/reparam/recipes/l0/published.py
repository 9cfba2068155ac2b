"""What was published of LeNet-300-100 on MNIST."""

from reparam.data.labelled import LabelledImages

ROWS = (
    ("L0, hard concrete, strength 0.1", "219-214-100", 1.4),
    ("L0, hard concrete, a strength for each layer", "266-88-33", 1.8),
    ("Sparse variational dropout", "512-114-72", 1.8),
    ("Bayesian compression, group normal-Jeffreys", "278-98-13", 1.8),
    ("Bayesian compression, group horseshoe", "311-86-14", 1.8),
)
"""Method, units left of 784-300-100, percent of test images in error, after 200 epochs: Louizos et
al. 2018, arXiv:1712.01312."""


def published(data: LabelledImages) -> dict[str, float]:
    """The first row, as metrics beside a run's own; none for other data."""
    if (data.name, data.shape, len(data.train[0])) != ("mnist", (1, 28, 28), 60000):
        return {}
    _, widths, error = ROWS[0]
    names = ("published_pixels", "published_hidden_1", "published_hidden_2")
    return {
        "published_error": error,
        **{n: float(w) for n, w in zip(names, widths.split("-"), strict=True)},
    }
