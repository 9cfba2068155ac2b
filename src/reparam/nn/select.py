"""Some entries along a dimension, by number."""

from torch import Tensor, nn


class Select(nn.Module):
    """x at `index` along `dim`: what `prune` puts before a layer whose inputs it cannot stop.

    >>> import torch
    >>> Select(torch.tensor([0, 2]), dim=-1)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[1., 3.]])
    """

    index: Tensor

    def __init__(self, index: Tensor, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("index", index)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(self.dim, self.index)

    def extra_repr(self) -> str:
        return f"{len(self.index)}, dim={self.dim}"
