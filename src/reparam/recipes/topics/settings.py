"""The options of the topic model."""

from dataclasses import dataclass

from reparam.training.settings import Settings


@dataclass(frozen=True, kw_only=True)
class TopicsSettings(Settings):
    """Train a topic model with a Dirichlet latent."""

    epochs: int = 60
    """Passes over the training set."""

    batch: int = 64
    """Documents per step, over all processes."""

    lr: float = 5e-3
    """Learning rate of Adam."""

    data: str = "docstrings"
    """Documents: docstrings (of NumPy, SciPy and scikit-learn), or a path: a folder with a text
    file for each, or a file with a line for each."""

    vocabulary: int = 2000
    """Words that are counted, the most frequent; English stop words are not."""

    min_documents: int = 5
    """A word occurs in at least so many documents."""

    max_share: float = 0.1
    """And in at most this share of them."""

    estimator: str = "pathwise"
    """How to differentiate the sampling step: a name of `reparam list` that serves continuous
    distributions, such as pathwise, dreg or rloo."""

    samples: int = 1
    """Samples per document and step."""

    topics: int = 20
    """Topics."""

    alpha: float = 0.2
    """Concentration of the Dirichlet prior, for each topic: below 1, documents have few topics."""

    hidden: int = 100
    """Width of the encoder's two hidden layers."""

    kl_weight: str = "1"
    """Weight of the KL: a number, or a schedule such as linear:start=0,end=1,steps=2000."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("vocabulary", 10)
        self._at_least("topics", 2)
        for name in ("min_documents", "samples", "hidden"):
            self._at_least(name, 1)
        if not 0 < self.max_share <= 1:
            raise ValueError(f"--max-share: expected a share in (0, 1], got {self.max_share}")
        if not 0 < self.alpha < float("inf"):
            raise ValueError(f"--alpha: expected a positive number, got {self.alpha}")
