"""The latent of a VAE: from the encoder's outputs to a posterior, its prior and its KL."""

from abc import ABC, abstractmethod
from math import log

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal, OneHotCategorical

from reparam.checks import check_count


class Latent(ABC):
    """What a VAE needs of its latent variable.

    features: how many numbers the encoder returns for an image.
    dims: how many numbers of a point the decoder takes.
    """

    features: int
    dims: int

    @abstractmethod
    def posterior(self, features: Tensor) -> Distribution:
        """Encoder outputs `(B, features)` -> q(z|x), batch shape (B,)."""

    @abstractmethod
    def prior(self, like: Tensor) -> Distribution:
        """p(z), batch shape (), on the device and in the dtype of `like`."""

    @abstractmethod
    def kl(self, q: Distribution) -> Tensor:
        """KL(q(z|x) || p(z)) in nats for each unit of the latent, in closed form: `(B, units)`."""


class GaussianLatent(Latent):
    """`units` independent Gaussians with a standard normal prior; event shape (units,).

    The encoder returns means and log-variances (Kingma & Welling 2014, appendix B, whose
    closed-form KL this is).
    """

    def __init__(self, units: int = 20) -> None:
        check_count("latents", units)
        self.units = self.dims = units
        self.features = 2 * units

    def posterior(self, features: Tensor) -> Distribution:
        mean, log_variance = features.chunk(2, -1)
        return Independent(Normal(mean, (log_variance / 2).exp(), validate_args=False), 1)

    def prior(self, like: Tensor) -> Distribution:
        return Independent(Normal(like.new_zeros(self.units), like.new_ones(self.units)), 1)

    def kl(self, q: Distribution) -> Tensor:
        assert isinstance(q, Independent)  # noqa: S101 (it is what `posterior` returns)
        mean, scale = q.base_dist.loc, q.base_dist.scale
        kl: Tensor = (mean.square() + scale.square() - 1) / 2 - scale.log()
        return kl


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
        return log(self.classes) + (log_p.exp() * log_p).sum(-1)


def _unchecked(logits: Tensor) -> OneHotCategorical:
    """A `OneHotCategorical`, whose constructor validates in spite of `validate_args=False`.

    NaN is the training loop's to explain, and a GPU waits for no check at every step.
    """
    q = OneHotCategorical.__new__(OneHotCategorical)
    q._categorical = Categorical(logits=logits, validate_args=False)  # noqa: SLF001
    Distribution.__init__(q, logits.shape[:-1], logits.shape[-1:], validate_args=False)
    return q
