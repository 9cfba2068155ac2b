"""Categorical latents, one by one."""

from math import log

from torch import Tensor
from torch.distributions import Distribution, Independent

from reparam.checks import check_count
from reparam.distributions import OneHotCategorical
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
        # NaN is the training loop's to explain, and a GPU waits for no check at every step.
        return Independent(OneHotCategorical(logits=logits, validate_args=False), 1)

    def prior(self, like: Tensor) -> Distribution:
        return Independent(OneHotCategorical(logits=like.new_zeros(self.units, self.classes)), 1)

    def kl(self, q: Distribution) -> Tensor:
        assert isinstance(q, Independent)  # noqa: S101 (it is what `posterior` returns)
        kl: Tensor = log(self.classes) - q.base_dist.entropy()
        return kl

    def inputs(self, points: Tensor) -> Tensor:
        return points.flatten(-2)
