"""What a VAE needs of its latent variable."""

from abc import ABC, abstractmethod

from torch import Tensor
from torch.distributions import Distribution


class Latent(ABC):
    """From the encoder's outputs to a posterior, the prior it is held to, and the decoder's inputs.

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
        """p(z) without parameters, batch shape (), on the device and in the dtype of `like`."""

    @abstractmethod
    def kl(self, q: Distribution) -> Tensor | None:
        """KL(q(z|x) || p(z)) in nats for each unit of the latent, `(B, units)`.

        None if there is no closed form.
        """

    def inputs(self, points: Tensor) -> Tensor:
        """What the decoder takes of points: `(*any, *event)` -> `(*any, dims)`.

        Under a continuous prior their mean is 0 and their variance near 1, as networks like it.
        """
        return points
