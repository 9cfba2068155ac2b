"""The options of the autoencoder that selects pixels."""

from dataclasses import dataclass

from reparam.training.settings import Settings


@dataclass(frozen=True, kw_only=True)
class SelectSettings(Settings):
    """Train an autoencoder that sees k pixels, and chooses them."""

    epochs: int = 10
    """Passes over the training set."""

    batch: int = 64
    """Images per step, over all processes."""

    lr: float = 1e-2
    """Learning rate of Adam."""

    data: str = "mnist"
    """Images: mnist (downloaded once), digits (embedded), or a path: a folder of IDX files or of
    pictures, a .npy or .npz file."""

    k: int = 50
    """Pixels that are kept."""

    tau: str = "exponential:start=10,end=0.01"
    """Temperature of the selection: a number or a schedule. From 10 to 0.01 is published."""

    masks: int = 4
    """Selections drawn in a step, for its images in turn."""

    hidden: int = 100
    """Width of the decoder's hidden layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("k", "masks", "hidden"):
            self._at_least(name, 1)
        if self.masks > self.batch:
            raise ValueError(
                f"--masks: expected at most one for each image of a --batch of {self.batch}, got "
                f"{self.masks}"
            )
