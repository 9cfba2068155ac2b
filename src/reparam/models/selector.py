"""An autoencoder that sees k pixels, and how well linear maps reconstruct from few numbers."""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from reparam.models.networks import Shape
from reparam.nn import ConcreteSelector
from reparam.schedules import Schedule


class PixelAutoencoder(nn.Module):
    """An image from k of its pixels, which are learned with it.

    Abid et al. 2019, "Concrete autoencoders", arXiv:1901.09346, with the k pixels drawn as one
    relaxed subset, so that they are different (`nn.ConcreteSelector`).

    shape: (C, H, W) of an image. hidden: width of the decoder's hidden layer. tau: the selector's.

    Takes and returns images `(B, C, H, W)`.

    >>> model = PixelAutoencoder((1, 8, 8), k=5, hidden=16)
    >>> model(torch.zeros(2, 1, 8, 8)).shape, model.selector.selected.shape
    (torch.Size([2, 1, 8, 8]), torch.Size([5]))
    """

    def __init__(self, shape: Shape, k: int, hidden: int, tau: Schedule | float = 1.0) -> None:
        super().__init__()
        pixels = prod(shape)
        self.selector = ConcreteSelector(pixels, k, tau)
        # A decoder that errs before it has learned would drive the selection to pixels that are
        # always black, which do it no harm; from outputs of 0, it asks for those that help.
        last = nn.Linear(hidden, pixels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.decoder = nn.Sequential(nn.Linear(pixels, hidden), nn.LeakyReLU(0.2), last)

    def forward(
        self,
        images: Tensor,
        masks: int = 1,
        *,
        rows: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """masks: how many are drawn, for the images in turn.

        rows: the images' places in a larger batch, `(B,)`; by default they are the whole.
        """
        x = images.flatten(1)
        rows = torch.arange(len(x), device=x.device) if rows is None else rows
        every = x.new_ones(x.shape[1])
        drawn = torch.stack([self.selector(every, generator=generator) for _ in range(masks)])
        decoded: Tensor = self.decoder(x * drawn[rows % masks])
        return decoded.view(images.shape)


@dataclass(frozen=True)
class Moments:
    """Mean `(D)` and covariance `(D, D)` of a training set, in float64: all that linear maps need.

    >>> x = torch.randn(9, 2)
    >>> moments = Moments.of(torch.cat([x, x.sum(1, keepdim=True)], 1))
    >>> round(moments.regression(torch.tensor([0, 2]), torch.tensor([[1.0, 2, 3]])), 9)
    0.0
    """

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, rows: Tensor, part: int = 10_000) -> "Moments":
        """Of rows `(N, D)`, taken in parts: float64 copies of all would be large."""
        mean = rows.mean(0, dtype=torch.float64)
        covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
        for some in torch.split(rows, part):
            centred = some.double() - mean
            covariance += centred.mT @ centred / len(rows)
        return cls(mean, covariance)

    def regression(self, selected: Tensor, test: Tensor) -> float:
        """Mean squared error of test rows, predicted linearly from their selected entries.

        selected: indices `(k)`. The least squares are those of the training set, with an intercept.
        """
        inside = self.covariance[selected][:, selected]
        # Entries that never vary, or repeat others, get the least weights.
        solved = torch.linalg.lstsq(inside, self.covariance[selected], driver="gelsd")
        centred = test.double() - self.mean
        error: Tensor = (centred - centred[:, selected] @ solved.solution).square().mean()
        return error.item()

    def principal(self, k: int, test: Tensor) -> float:
        """Mean squared error of test rows, of which k principal components are kept."""
        basis = torch.linalg.eigh(self.covariance).eigenvectors[:, -k:]
        centred = test.double() - self.mean
        error: Tensor = (centred - centred @ basis @ basis.mT).square().mean()
        return error.item()

    def chance(self, k: int, test: Tensor, generator: torch.Generator, draws: int = 10) -> float:
        """The mean of `regression` from k entries at random."""
        picks = [torch.randperm(len(self.mean), generator=generator)[:k] for _ in range(draws)]
        return sum(self.regression(pick, test) for pick in picks) / draws
