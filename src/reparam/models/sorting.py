"""Sorting numbers that are only seen: images are scored, and the scores sorted."""

from typing import Literal

import torch
from torch import Tensor, nn

from reparam.functional import matching, neural_sort, sinkhorn, soft_sort
from reparam.models.networks import Shape, conv_encoder
from reparam.noise import Key, Noise

Relaxation = Literal["neural-sort", "soft-sort", "sinkhorn"]


class Sorter(nn.Module):
    """Images of numbers `(B, n, C, H, W)` -> scores -> relaxed permutations, the largest first.

    Grover et al. 2019, "Stochastic optimization of sorting networks via continuous relaxations",
    arXiv:1903.08850. One network looks at each image by itself. For neural-sort and soft-sort it
    gives one score, for sinkhorn one for every place, as Mena et al. 2018 sort
    (arXiv:1802.08665). Scores are `(*batch, m, n)`, with m = 1 or m = n.

    shape: (C, H, W) of an image.

    >>> sorter = Sorter((1, 28, 28), n=5)
    >>> scores = sorter(torch.rand(3, 5, 1, 28, 28))
    >>> sorter.relaxed(scores, tau=1.0).shape, sorter.order(scores).shape
    (torch.Size([3, 5, 5]), torch.Size([3, 5]))
    """

    def __init__(
        self, shape: Shape, n: int, relaxation: Relaxation = "neural-sort", hidden: int = 64
    ) -> None:
        super().__init__()
        self.relaxation = relaxation
        self.network = conv_encoder(shape, hidden, n if relaxation == "sinkhorn" else 1)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.network(images.flatten(0, 1)).to(images.dtype)
        return scores.view(*images.shape[:2], -1).mT

    def relaxed(self, scores: Tensor, tau: float) -> Tensor:
        """Matrices `(*batch, n, n)`: row i for the i-th largest number, column j for image j."""
        if self.relaxation == "sinkhorn":
            return sinkhorn(scores, tau)[0]
        relax = neural_sort if self.relaxation == "neural-sort" else soft_sort
        return relax(scores.squeeze(-2), tau)

    def order(self, scores: Tensor) -> Tensor:
        """The image of the i-th largest number, `(*batch, n)`."""
        if self.relaxation == "sinkhorn":
            return matching(scores).argmax(-1)
        return scores.squeeze(-2).argsort(dim=-1, descending=True, stable=True)


def perturbed(scores: Tensor, samples: int, key: Key) -> Tensor:
    """Scores plus so many sets of Gumbel noise, `(samples, *shape)`; with 0, one set without.

    Scores with noise are in an order drawn from Plackett-Luce, whose log-weights they are.

    key: a number, or int64 keys of the scores' leading dimensions.
    """
    if samples == 0:
        return scores.unsqueeze(0)
    return scores + Noise(key=key).gumbel(samples, scores)


def sorting_matrix(values: Tensor) -> Tensor:
    """The permutation that sorts values `(*batch, n)` in descending order, as a target.

    Equal values share their rows.

    >>> sorting_matrix(torch.tensor([3, 7, 3]))
    tensor([[0.0000, 1.0000, 0.0000],
            [0.5000, 0.0000, 0.5000],
            [0.5000, 0.0000, 0.5000]])
    """
    ordered = values.sort(-1, descending=True).values
    equal = (ordered.unsqueeze(-1) == values.unsqueeze(-2)).float()
    return equal / equal.sum(-1, keepdim=True)


def cross_entropy(relaxed: Tensor, target: Tensor) -> Tensor:
    """-sum of target * log(relaxed) over columns, the mean over rows, in nats: `(*batch)`."""
    # A probability that is 0 in float32 has a finite cost, and no gradient to go by.
    logs = relaxed.clamp(min=torch.finfo(relaxed.dtype).tiny).log()
    return -(target * logs).sum(-1).mean(-1)


def right_ranks(values: Tensor, order: Tensor) -> Tensor:
    """Whether the number put in a place is as large as what belongs there, `(*batch, n)`.

    >>> right_ranks(torch.tensor([3, 7, 3]), torch.tensor([1, 2, 0]))
    tensor([True, True, True])
    """
    return values.gather(-1, order) == values.sort(-1, descending=True).values


def confusion(values: Tensor, order: Tensor) -> Tensor:
    """How often place i (row) holds what belongs in place j: `(B, n)` of each -> shares `(n, n)`.

    Equal numbers belong in their places in equal shares.

    >>> confusion(torch.tensor([[3, 7, 5]]), torch.tensor([[1, 0, 2]]))
    tensor([[1., 0., 0.],
            [0., 0., 1.],
            [0., 1., 0.]])
    """
    belongs = sorting_matrix(values).mT
    return belongs.gather(1, order.unsqueeze(-1).expand(belongs.shape)).mean(0)
