"""Jigsaw puzzles: images cut into pieces, a network that puts them back, and how well it did."""

from math import isqrt

import torch
from torch import Tensor, nn

from reparam.functional import matching
from reparam.models.networks import Shape
from reparam.noise import Key, Noise


class JigsawSolver(nn.Module):
    """Pieces `(B, n, C, H, W)` -> scores `(B, n, n)` of places (rows) for pieces (columns).

    Mena et al. 2018, "Learning latent permutations with Gumbel-Sinkhorn networks",
    arXiv:1802.08665. One network looks at each piece by itself, so pieces in another order have
    their columns in that order.

    shape: (C, H, W) of a piece. places: n.

    >>> JigsawSolver((1, 9, 9), places=9)(torch.rand(5, 9, 1, 9, 9)).shape
    torch.Size([5, 9, 9])
    """

    def __init__(self, shape: Shape, places: int, hidden: int = 200) -> None:
        super().__init__()
        channels, height, width = shape
        self.network = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * -(-height // 2) * -(-width // 2), hidden),
            nn.ReLU(),
            nn.Linear(hidden, places),
        )

    def forward(self, pieces: Tensor) -> Tensor:
        scores: Tensor = self.network(pieces.flatten(0, 1)).to(pieces.dtype)
        return scores.view(*pieces.shape[:2], -1).mT

    @torch.no_grad()
    def order(self, pieces: Tensor) -> Tensor:
        """The piece for each place, `(B, n)`: the permutation with the largest sum of scores."""
        return matching(self(pieces)).argmax(-1)


def cut(images: Tensor, side: int) -> Tensor:
    """Images `(B, C, H, W)` -> their side x side pieces, row by row, `(B, side^2, C, h, w)`.

    What is left over when H and W are divided by `side` is cropped, evenly on both sides.

    >>> cut(torch.arange(16.0).view(1, 1, 4, 4), 2)[0, 1, 0]
    tensor([[2., 3.],
            [6., 7.]])
    """
    height, width = (size // side for size in images.shape[-2:])
    top, left = ((size % side) // 2 for size in images.shape[-2:])
    whole = images[..., top : top + side * height, left : left + side * width]
    pieces = whole.unfold(-2, height, height).unfold(-2, width, width)
    return pieces.movedim((2, 3), (1, 2)).flatten(1, 2)


def joined(pieces: Tensor) -> Tensor:
    """The inverse of `cut`: `(B, side^2, C, h, w)` -> `(B, C, side * h, side * w)`."""
    side = isqrt(pieces.shape[1])
    rows = pieces.reshape(len(pieces), side, side, *pieces.shape[2:]).movedim((1, 2), (2, 4))
    return rows.flatten(2, 3).flatten(3, 4)


def taken(pieces: Tensor, order: Tensor) -> Tensor:
    """The pieces `(B, n, C, h, w)` in another order, indices `(B, n)`."""
    return pieces.gather(1, order[..., None, None, None].expand(pieces.shape))


def scrambled(pieces: Tensor, key: Key) -> Tensor:
    """Each image's pieces in an order of their own, all orders equally likely.

    key: a number, or one for each image, int64 `(B,)`.
    """
    like = torch.empty(pieces.shape[:2], device=pieces.device)
    return taken(pieces, Noise(key=key).uniform(1, like)[0].argsort(-1))


def quality(found: Tensor, true: Tensor) -> dict[str, Tensor]:
    """What is right about puzzles that were put together, pieces `(B, n, C, h, w)` by their places.

    Identical pieces (black corners) are interchangeable. The values, `(B,)` each:

    pieces: share of places that show the right piece, in percent.
    solved: 100 where all do, else 0.
    kendall_tau: of the order of the pieces, from -1 to 1.
    l1, l2: the mean absolute and the root mean square error of a pixel, in percent of white.
    """
    shown, right = kinds(found, true)
    error = (found - true).flatten(1)
    return {
        "pieces": 100 * (shown == right).double().mean(-1),
        "solved": 100 * (shown == right).all(-1).double(),
        "kendall_tau": kendall_tau(places(shown, right)),
        "l1": 100 * error.abs().double().mean(-1),
        "l2": 100 * error.double().square().mean(-1).sqrt(),
    }


def kinds(found: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """A number for each piece, `(B, n)` each: equal for pieces whose every pixel is."""
    rows = torch.stack([found, true]).flatten(3).flatten(0, 2)
    shown, right = torch.unique(rows, dim=0, return_inverse=True)[1].view(2, *found.shape[:2])
    return shown, right


def places(shown: Tensor, right: Tensor) -> Tensor:
    """The places that the pieces shown belong in, by their kinds; identical ones in their order.

    Kinds shown in places 0, 1, ... and those that are right there, `(B, n)` each.

    >>> places(torch.tensor([[7, 7, 4]]), torch.tensor([[7, 4, 7]]))
    tensor([[0, 2, 1]])
    """
    # Sorted by kind, both hold the same: the m-th shown of a kind is the m-th that there is.
    to, belongs = (x.argsort(dim=-1, stable=True) for x in (shown, right))
    return torch.empty_like(belongs).scatter_(-1, to, belongs)


def kendall_tau(order: Tensor) -> Tensor:
    """Pairs in their order minus pairs out of it, over all pairs: `(B, n)` -> `(B)`.

    Kendall 1938, "A new measure of rank correlation"; of permutations, which have no ties.

    >>> kendall_tau(torch.tensor([[0, 1, 2], [0, 2, 1], [2, 1, 0]]))
    tensor([ 1.0000,  0.3333, -1.0000], dtype=torch.float64)
    """
    n = order.shape[-1]
    ahead = (order.unsqueeze(-2) - order.unsqueeze(-1)).sign().triu()
    return ahead.sum((-1, -2)).double() / (n * (n - 1) / 2)
