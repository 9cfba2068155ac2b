"""Gaussian latents, one by one."""

from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from reparam.checks import check_count
from reparam.models.latents.base import Latent


class GaussianLatent(Latent):
    """`units` independent Gaussians with a standard normal prior; event shape (units,).

    The encoder returns means and log-variances (Kingma & Welling 2014, appendix B, whose
    closed-form KL this is).
    """

    def __init__(self, units: int = 20) -> None:
        check_count("latents", units)
        self.units = self.dims = units
        self.features = 2 * units

    def posterior(self, features: Tensor) -> "Independent[Normal]":
        mean, log_variance = features.chunk(2, -1)
        return Independent(Normal(mean, (log_variance / 2).exp(), validate_args=False), 1)

    def prior(self, like: Tensor) -> Distribution:
        zeros = like.new_zeros(self.units)
        return Independent(Normal(zeros, zeros + 1, validate_args=False), 1)

    def kl(self, q: Distribution) -> Tensor:
        assert isinstance(q, Independent)  # noqa: S101 (it is what `posterior` returns)
        mean, scale = q.base_dist.loc, q.base_dist.scale
        kl: Tensor = (mean.square() + scale.square() - 1) / 2 - scale.log()
        return kl
