"""What a figure is."""

from typing import Any, Protocol


class Figure(Protocol):
    """One file of this folder."""

    TITLE: str

    def measure(self, seed: int, /) -> dict[str, Any]:
        """The numbers, as JSON holds them."""

    def caption(self, found: dict[str, Any], /) -> str:
        """What the figure shows, with its numbers."""

    def draw(self, found: dict[str, Any], /) -> Any:
        """A matplotlib figure."""
