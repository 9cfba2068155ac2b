"""Products of many square matrices K `(B, n, n)` with a vector each, many times over.

u, one number for each row, and v, one for each column, keep a layout that no product has to turn.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SMALL = 20  # n below which torch multiplies small matrices by loops of its own
MANY = 16_000  # elements, from which it does so more slowly than it adds up products


class Apart:
    """One matrix after the other, u and v `(B, 1, n)`: row vectors times matrices."""

    def __init__(self, k: Tensor) -> None:
        self.by_v = k.mT
        # torch's own loops are twice as fast along memory as across it.
        self.by_u = k.mT.contiguous().mT if k.shape[-1] < SMALL else k

    def ones(self) -> Tensor:
        """V = 1."""
        return self.by_v.new_ones(len(self.by_v), 1, self.by_v.shape[-1])

    def along_rows(self, v: Tensor) -> Tensor:
        """K v."""
        return torch.bmm(v, self.by_v)

    def along_columns(self, u: Tensor) -> Tensor:
        """K' u."""
        return torch.bmm(u, self.by_u)

    def joined_u(self, parts: list[Tensor]) -> Tensor:
        """T vectors -> `(B, T, n)`."""
        return torch.cat(parts, 1)

    def parted_u(self, joined: Tensor) -> Sequence[Tensor]:
        """`(B, T, n)` -> T vectors."""
        return torch.split(joined, 1, 1)

    joined_v = joined_u
    parted_v = parted_u


class Abreast:
    """Entry (i, j) of every matrix side by side, so that no loop is shorter than the batch.

    u is `(n, 1, B)`, v `(1, n, B)`.
    """

    def __init__(self, k: Tensor) -> None:
        self.k = k.permute(1, 2, 0).contiguous()
        self.scratch = torch.empty_like(self.k)

    def ones(self) -> Tensor:
        """V = 1."""
        return self.k.new_ones(1, *self.k.shape[1:])

    def along_rows(self, v: Tensor) -> Tensor:
        """K v."""
        return torch.mul(self.k, v, out=self.scratch).sum(1, keepdim=True)

    def along_columns(self, u: Tensor) -> Tensor:
        """K' u."""
        return torch.mul(self.k, u, out=self.scratch).sum(0, keepdim=True)

    def joined_u(self, parts: list[Tensor]) -> Tensor:
        """T vectors -> `(B, T, n)`."""
        return torch.cat(parts, 1).permute(2, 1, 0).contiguous()

    def joined_v(self, parts: list[Tensor]) -> Tensor:
        """T vectors -> `(B, T, n)`."""
        return torch.cat(parts, 0).permute(2, 0, 1).contiguous()

    def parted_u(self, joined: Tensor) -> Sequence[Tensor]:
        """`(B, T, n)` -> T vectors."""
        return torch.split(joined.permute(2, 1, 0).contiguous(), 1, 1)

    def parted_v(self, joined: Tensor) -> Sequence[Tensor]:
        """`(B, T, n)` -> T vectors."""
        return torch.split(joined.permute(1, 2, 0).contiguous(), 1, 0)


def products(k: Tensor) -> Apart | Abreast:
    """The faster layout for the size."""
    abreast = k.shape[-1] < SMALL and k.numel() >= MANY
    return Abreast(k) if abreast else Apart(k)
