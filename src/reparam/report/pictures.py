"""Images as one picture: grids of intensities, as PNG inside the page."""

from base64 import b64encode
from io import BytesIO

import torch
from torch import Tensor


def grid(images: Tensor, columns: int, gap: int = 1) -> Tensor:
    """Images `(N, C, H, W)` in [0, 1] -> one `(C, rows * (H + gap), columns * (W + gap))`.

    The gaps, and places left over in the last row, are white.
    """
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    cells = images.new_ones(rows * columns, channels, height + gap, width + gap)
    cells[:count, :, :height, :width] = images
    cells = cells.reshape(rows, columns, channels, height + gap, width + gap)
    return cells.permute(2, 0, 3, 1, 4).reshape(channels, rows * (height + gap), -1)


def data_uri(image: Tensor) -> str:
    """An image `(C, H, W)` in [0, 1] as a PNG data URI: grey or color, 2 and 4 add an alpha."""
    from PIL import Image  # noqa: PLC0415 (an extra)

    channels, height, width = image.shape
    mode = ("L", "LA", "RGB", "RGBA")[channels - 1]
    pixels = (image.clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    raw = bytes(pixels.permute(1, 2, 0).flatten().tolist())
    buffer = BytesIO()
    Image.frombytes(mode, (width, height), raw).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode()
