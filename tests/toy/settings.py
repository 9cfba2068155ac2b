"""The options of the toy."""

from dataclasses import dataclass

from reparam.training.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ToySettings(Settings):
    """Train a classifier of counted words."""

    epochs: int = 3
    """Few passes suffice."""

    words: int = 5
    """Words in the dictionary."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("words", 2)
