"""Categorical latents, one by one."""

from math import log

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, OneHotCategorical

from reparam.checks import check_count
from reparam.models.latents.base import Latent


class CategoricalLatent(Latent):
    """`units` independent categoricals over `classes`, uniform prior; event (units, classes).

    KL = log K - H(q) for each (Jang et al. 2017, section 4.2).
    """

    def __init__(self, units: int = 20, classes: int = 10) -> None:
        check_count("latents", units)
        check_count("classes", classes, least=2)
        self.units, self.classes = units, classes
        self.features = self.dims = units * classes

    def posterior(self, features: Tensor) -> Distribution:
        logits = features.reshape(*features.shape[:-1], self.units, self.classes)
        return Independent(_unchecked(logits), 1)

    def prior(self, like: Tensor) -> Distribution:
        return Independent(OneHotCategorical(logits=like.new_zeros(self.units, self.classes)), 1)

    def kl(self, q: Distribution) -> Tensor:
        assert isinstance(q, Independent)  # noqa: S101 (it is what `posterior` returns)
        log_p = torch.log_softmax(q.base_dist.logits, -1)
        impossible = log_p == -torch.inf  # 0 log 0 is 0
        return log(self.classes) + (log_p.exp() * log_p.masked_fill(impossible, 0)).sum(-1)

    def inputs(self, points: Tensor) -> Tensor:
        return points.flatten(-2)


def _unchecked(logits: Tensor) -> OneHotCategorical:
    """A `OneHotCategorical`, whose constructor validates in spite of `validate_args=False`.

    NaN is the training loop's to explain, and a GPU waits for no check at every step.
    """
    q = OneHotCategorical.__new__(OneHotCategorical)
    q._categorical = Categorical(logits=logits, validate_args=False)  # noqa: SLF001
    Distribution.__init__(q, logits.shape[:-1], logits.shape[-1:], validate_args=False)
    return q
