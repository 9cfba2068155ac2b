"""The options of the model that solves jigsaw puzzles."""

from dataclasses import dataclass

from reparam.training.settings import Settings


@dataclass(frozen=True, kw_only=True)
class JigsawSettings(Settings):
    """Train a network to solve jigsaw puzzles (Gumbel-Sinkhorn's experiment)."""

    epochs: int = 10
    """Passes over the training set."""

    data: str = "digits"
    """Images: digits (embedded), mnist (downloaded once), or a path: a folder of IDX files or of
    pictures, a .npy or .npz file."""

    side: int = 3
    """Pieces along each side: a puzzle has its square."""

    samples: int = 1
    """Relaxed permutations drawn per puzzle and step."""

    tau: str = "1"
    """Temperature: a number or a schedule, such as exponential:start=2,end=0.5."""

    iterations: int = 20
    """Of Sinkhorn's algorithm; low temperatures need more."""

    hidden: int = 200
    """Width of the hidden layer, after two convolutions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("side", 2)
        for name in ("samples", "iterations", "hidden"):
            self._at_least(name, 1)
