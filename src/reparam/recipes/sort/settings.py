"""The options of the model that sorts."""

from dataclasses import dataclass
from typing import Literal

from reparam.training.settings import Settings


@dataclass(frozen=True, kw_only=True)
class SortSettings(Settings):
    """Train a network to sort images of numbers (NeuralSort's experiment, made small)."""

    epochs: int = 15
    """Epochs, of --sequences each; published runs are longer."""

    batch: int = 50
    """Sequences per step, over all processes."""

    lr: float = 2e-3
    """Learning rate of Adam."""

    data: str = "digits"
    """Images of digits with their labels: digits (embedded), mnist (downloaded once), or a path:
    a folder of IDX files of MNIST's names."""

    sequences: int = 10_000
    """Sequences of an epoch, each of images drawn anew from the training set."""

    n: int = 5
    """Numbers of a sequence; 3, 5 and 7 are among the published."""

    digits: int = 2
    """Digits of a number, images side by side; 4 are published."""

    relaxation: Literal["neural-sort", "soft-sort", "sinkhorn"] = "neural-sort"
    """Of the permutation that sorts: neural-sort and soft-sort relax the order of one score for
    each image, sinkhorn the assignment of images to places."""

    samples: int = 0
    """Sets of Gumbel noise that perturb the scores of a sequence in every step; 0 is the
    deterministic relaxation."""

    tau: str = "1"
    """Temperature: a number or a schedule, such as exponential:start=2,end=0.5."""

    hidden: int = 64
    """Width of the hidden layer, after two convolutions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("n", 2)
        self._at_least("samples", 0)
        for name in ("sequences", "digits", "hidden"):
            self._at_least(name, 1)
        if self.digits > 9:
            raise ValueError(
                f"--digits: expected at most 9, so that numbers stay exact, got {self.digits}"
            )
