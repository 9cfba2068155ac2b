"""The options of the L0-regularized classifier."""

from dataclasses import dataclass

from reparam.training.settings import Settings

LAYERS = 3


@dataclass(frozen=True, kw_only=True)
class L0Settings(Settings):
    """Train LeNet-300-100 with gates that close pixels and hidden units."""

    epochs: int = 100
    """Passes over the training set; 200 are published."""

    batch: int = 100
    """Images per step, over all processes."""

    data: str = "mnist"
    """Images with labels: mnist (downloaded once), digits (embedded), or a path to a folder of IDX
    files."""

    strength: str = "0.1"
    """What an open weight costs, in nats for the whole training set: a number for all layers, or
    one for each, such as 0.1,0.2,0.4."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.strengths()

    def strengths(self) -> tuple[float, ...]:
        """One for each layer."""
        try:
            given = tuple(float(part) for part in self.strength.split(","))
        except ValueError:
            given = ()
        if len(given) not in (1, LAYERS) or not all(0 <= s < float("inf") for s in given):
            raise ValueError(
                f"--strength: expected a number of at least 0, or {LAYERS} with commas between, "
                f"got {self.strength!r}"
            )
        return given if len(given) == LAYERS else given * LAYERS
