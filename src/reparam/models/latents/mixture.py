"""A posterior of several modes."""

from torch import Tensor
from torch.distributions import Categorical, Distribution

from reparam.checks import check_count
from reparam.distributions import MixtureSameFamily
from reparam.models.latents.base import Latent
from reparam.models.latents.gaussian import GaussianLatent


class MixtureLatent(Latent):
    """A mixture of `components` Gaussians in `units` dimensions; event shape (units,).

    The prior is standard normal. The encoder returns for each component the logit of its weight,
    its means and its log-variances. The KL has no closed form.
    """

    def __init__(self, units: int = 20, components: int = 10) -> None:
        check_count("components", components)
        self.component, self.components = GaussianLatent(units), components
        self.dims = units
        self.features = components * (1 + self.component.features)

    def posterior(self, features: Tensor) -> Distribution:
        each = features.reshape(*features.shape[:-1], self.components, -1)
        logits, each = each[..., 0], each[..., 1:]
        return MixtureSameFamily(
            Categorical(logits=logits, validate_args=False),
            self.component.posterior(each),
            validate_args=False,
        )

    def prior(self, like: Tensor) -> Distribution:
        return self.component.prior(like)

    def kl(self, q: Distribution) -> None:
        return None
