"""Categorical units between two layers."""

import torch
from torch import Tensor, nn
from torch.distributions import OneHotCategorical

from reparam.checks import check_count
from reparam.core import Estimator, sample
from reparam.functional import hard_argmax
from reparam.nn.annealed import AnnealedEstimator
from reparam.noise import Key
from reparam.schedules import Schedule


class StochasticCategorical(nn.Module):
    """Logits to one-hot samples: the estimator's in training, the mode in eval mode.

    estimator: a pathwise estimator of one-hot points, or its spec. Relaxed ones, such as
        `GumbelSoftmax`, return soft points in training.
    classes: the last dimension is split into blocks of so many, each a categorical; by default it
        is one.
    tau: a schedule of the estimator's temperature, advanced by `anneal`; by default it stays.

    Takes and returns `(*batch, features)`. key: an integer, or an int64 tensor `(*batch)`.

    >>> layer = StochasticCategorical("reinmax", classes=10)
    >>> layer(torch.zeros(2, 200)).sum(-1).tolist()
    [20.0, 20.0]
    """

    def __init__(
        self,
        estimator: Estimator | str = "straight-through-gumbel-softmax",
        classes: int | None = None,
        tau: Schedule | float | None = None,
    ) -> None:
        super().__init__()
        if classes is not None:
            check_count("classes", classes)
        self.classes = classes
        self.estimator = AnnealedEstimator(estimator, tau)
        if not self.estimator.estimator.pathwise:
            raise TypeError(
                f"estimator: expected a pathwise one, got {self.estimator.name}, whose gradient "
                "does not pass through the points; use its draw(q, n) and combine the costs"
            )

    def forward(
        self, logits: Tensor, *, generator: torch.Generator | None = None, key: Key | None = None
    ) -> Tensor:
        blocks = self._blocks(logits)
        if self.training:
            q = OneHotCategorical(logits=blocks, validate_args=False)
            points = sample(q, self.estimator(), generator=generator, key=key)
        else:
            points = hard_argmax(blocks)
        return points.reshape(logits.shape)

    def extra_repr(self) -> str:
        return f"classes={self.classes}"

    def _blocks(self, logits: Tensor) -> Tensor:
        if self.classes is None:
            return logits
        if logits.shape[-1] % self.classes:
            raise ValueError(
                f"logits: expected a last dimension of whole blocks of {self.classes} classes, got "
                f"shape {tuple(logits.shape)}; change classes= or the layer before"
            )
        return logits.reshape(*logits.shape[:-1], -1, self.classes)
