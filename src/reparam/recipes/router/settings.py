"""The options of the mixture of experts."""

from dataclasses import dataclass

from reparam.training.settings import Settings


@dataclass(frozen=True, kw_only=True)
class RouterSettings(Settings):
    """Train a mixture of experts that classifies images."""

    lr: float = 3e-3
    """Learning rate of Adam."""

    data: str = "digits"
    """Images with labels: digits (embedded), mnist (downloaded once), or a path to a folder of IDX
    files."""

    estimator: str = "score:baseline=moving-average"
    """How to differentiate the choice of experts: a name of `reparam list` that evaluates the cost
    once, such as score, straight-through-gumbel-softmax or reinmax:tau=0.5. none lets the router
    learn from the weights of the chosen experts alone."""

    tau: str = "auto"
    """Temperature: a number or a schedule, such as cosine:start=2,end=0.5. auto leaves it at the
    estimator's."""

    experts: int = 8
    """Experts."""

    k: int = 1
    """Experts that each image goes to."""

    hidden: int = 16
    """Width of each expert's hidden layer."""

    balance: float = 1.0
    """Weight of the load-balance loss, which is 1 where the load is even; lower it for an
    estimator whose router stays undecided."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("experts", 2)
        for name in ("k", "hidden"):
            self._at_least(name, 1)
        self._at_least("balance", 0)
        if self.k > self.experts:
            raise ValueError(f"--k: expected at most the {self.experts} --experts, got {self.k}")
