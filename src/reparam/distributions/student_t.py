"""Student's t distribution, differentiated in its degrees of freedom to the last digits."""

from math import log

import torch
from torch import Tensor, distributions
from torch.types import _size

from reparam.distributions.gamma import by_quantile, draw_log_gamma
from reparam.noise import Noise
from reparam.special.incomplete_beta import beta_logit_quantile, with_beta_gradient


class StudentT(distributions.StudentT):
    """torch's StudentT, with accurate gradients and noise of one's own.

    T^2 / (T^2 + df) ~ Beta(1/2, df/2), so that T moves with df as the quantile of that does
    (Figurnov et al. 2018, "Implicit Reparameterization Gradients", section 4, arXiv:1805.08498).
    Samples beyond the dtype's range are its largest number.

    >>> df = torch.tensor(1.0, requires_grad=True)
    >>> t = StudentT(df).rsample(noise=Noise(uniforms=torch.tensor([0.5])))
    >>> t.item()
    0.0
    """

    def rsample(
        self,
        sample_shape: _size = torch.Size(),  # noqa: B008
        noise: Noise | None = None,
    ) -> Tensor:
        """Points `(*sample, *batch)`, increasing in the noise if that is uniform."""
        shape, dtype = torch.Size(sample_shape), self.df.dtype
        df = self.df.double()
        sign, z = _sign_and_logit(df, shape.numel(), noise or Noise())
        z = with_beta_gradient(z, torch.full_like(df, 0.5), df / 2)
        # T^2 / df = X / (1 - X) = e^z.
        size = torch.exp(((df.log() + z) / 2).clamp(max=log(torch.finfo(dtype).max)))
        points = (sign * size).reshape(self._extended_shape(shape)).to(dtype)
        return self.loc + self.scale * points


def _sign_and_logit(df: Tensor, n: int, noise: Noise) -> tuple[Tensor, Tensor]:
    """The sign of T, and logit(T^2 / (T^2 + df)), `(n, *batch)`; without a gradient."""
    df = df.detach()
    half = torch.full_like(df, 0.5)
    if by_quantile(noise):
        u = noise.uniform(n, df)
        # 1 - X ~ Beta(df/2, 1/2) is below its quantile at P(|T| > t), exact for u near 0 and 1.
        outside = (2 * torch.minimum(u, 1 - u)).clamp(max=1 - torch.finfo(u.dtype).eps / 2)
        return torch.sign(u - 0.5), -beta_logit_quantile(outside, df / 2, half)
    normal = noise.normal(n, df)
    # X / (1 - X) is the ratio of Gamma(1/2), half the square of a normal, and Gamma(df/2).
    gamma = normal.square().div(2).clamp(min=torch.finfo(df.dtype).tiny)
    return torch.sign(normal), gamma.log() - draw_log_gamma(df / 2, n, noise)
