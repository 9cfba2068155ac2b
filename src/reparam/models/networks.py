"""Encoders and decoders for images of any size: fully connected, or small convolutional."""

from math import prod
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import interpolate

Architecture = Literal["mlp", "conv"]
Shape = tuple[int, int, int]


def networks(
    architecture: Architecture, shape: Shape, hidden: int, features: int, dims: int
) -> tuple[nn.Module, nn.Module]:
    """An encoder `(B, C, H, W)` -> `(B, features)` and a decoder `(N, dims)` -> `(N, C, H, W)`.

    shape: (C, H, W) in pixels. hidden: width of the hidden layer. The decoder returns logits.
    """
    if architecture == "mlp":
        return mlp_encoder(shape, hidden, features), mlp_decoder(dims, hidden, shape)
    if architecture == "conv":
        return conv_encoder(shape, hidden, features), ConvDecoder(dims, hidden, shape)
    raise ValueError(f"encoder: expected 'mlp' or 'conv', got {architecture!r}")


def mlp_encoder(shape: Shape, hidden: int, features: int) -> nn.Module:
    """One hidden layer."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(prod(shape), hidden), nn.ReLU(), nn.Linear(hidden, features)
    )


def mlp_decoder(dims: int, hidden: int, shape: Shape) -> nn.Module:
    """One hidden layer."""
    return nn.Sequential(
        nn.Linear(dims, hidden), nn.ReLU(), nn.Linear(hidden, prod(shape)), nn.Unflatten(1, shape)
    )


def conv_encoder(shape: Shape, hidden: int, features: int) -> nn.Module:
    """Two strided convolutions and one hidden layer."""
    channels, height, width = shape
    if min(height, width) < 4:
        raise ValueError(
            f"encoder: expected images of at least 4 x 4 pixels for 'conv', "
            f"got {height} x {width}; use 'mlp'"
        )
    return nn.Sequential(
        nn.Conv2d(channels, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * (height // 4) * (width // 4), hidden),
        nn.ReLU(),
        nn.Linear(hidden, features),
    )


def surrogate(dims: int, hidden: int = 100) -> nn.Module:
    """A control variate for RELAX: `(n, B, *event)` of `dims` numbers an event -> `(n, B)`."""
    return nn.Sequential(
        nn.Flatten(2), nn.Linear(dims, hidden), nn.Tanh(), nn.Linear(hidden, 1), nn.Flatten(-2)
    )


class ConvDecoder(nn.Module):
    """The encoder backwards; resizing in place of strides makes any image size fit."""

    def __init__(self, dims: int, hidden: int, shape: Shape) -> None:
        super().__init__()
        channels, self.height, self.width = shape
        low = (64, max(1, self.height // 4), max(1, self.width // 4))
        self.expand = nn.Sequential(
            nn.Linear(dims, hidden),
            nn.ReLU(),
            nn.Linear(hidden, prod(low)),
            nn.ReLU(),
            nn.Unflatten(1, low),
        )
        self.coarse = nn.Sequential(nn.Conv2d(64, 32, 3, padding=1), nn.ReLU())
        self.fine = nn.Conv2d(32, channels, 3, padding=1)

    def forward(self, points: Tensor) -> Tensor:
        """`(N, dims)` -> logits `(N, C, H, W)`."""
        quarter = self.expand(points)
        half = self.coarse(interpolate(quarter, size=(-(-self.height // 2), -(-self.width // 2))))
        logits: Tensor = self.fine(interpolate(half, size=(self.height, self.width)))
        return logits
