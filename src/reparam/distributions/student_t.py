"""Student's t distribution, differentiated in its degrees of freedom to the last digits."""

from math import log

import torch
from torch import Tensor, distributions
from torch.types import _size

from reparam.distributions.gamma import by_quantile, draw_log_gamma
from reparam.distributions.implicit import root
from reparam.distributions.levels import between
from reparam.noise import Noise
from reparam.special.incomplete_beta import beta_logit_quantile, with_beta_gradient
from reparam.special.student_tail import student_tail


class StudentT(distributions.StudentT):
    """torch's StudentT, with a cdf, accurate gradients and noise of one's own.

    T^2 / (T^2 + df) ~ Beta(1/2, df/2), so that T moves with df as the quantile of that does
    (Figurnov et al. 2018, "Implicit Reparameterization Gradients", section 4, arXiv:1805.08498).
    That gradient is the mean, given T, of the one through a normal and a chi-squared variable.
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
        shape, df, dtype = torch.Size(sample_shape), self.df.double(), self.df.dtype
        sign, z = _sign_and_logit(self.df, shape.numel(), noise or Noise())
        z = with_beta_gradient(z, torch.full_like(df, 0.5), df / 2, dtype)
        # T^2 / df = X / (1 - X) = e^z.
        size = torch.exp(((df.log() + z) / 2).clamp(max=log(torch.finfo(dtype).max)))
        points = (sign * size).reshape(self._extended_shape(shape)).to(dtype)
        return self.loc + self.scale * points

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        t = (value.double() - self.loc.double()) / self.scale.double()
        below = t < 0
        tail = student_tail(torch.where(below, -t, t), self.df)
        return torch.where(below, tail, 1 - tail).to(self.df.dtype)

    def icdf(self, value: Tensor) -> Tensor:
        """Differentiable in the level and the parameters."""
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)  # type: ignore[no-untyped-call]
        df = self.df.double()

        def quantile(level: Tensor) -> Tensor:
            # On the left, where levels are precise.
            outside = torch.where(level < 0.5, level, 1 - level)
            z = _logit_of(2 * outside.detach(), df.detach())
            t = root(-torch.exp((df.log() + z) / 2), lambda t: student_tail(-t, df), level=outside)
            return self.loc.double() + self.scale.double() * torch.where(level < 0.5, t, -t)

        level = value.double().expand(shape)
        return between(-torch.inf, torch.inf, level, quantile).to(self.df.dtype)


def _sign_and_logit(df: Tensor, n: int, noise: Noise) -> tuple[Tensor, Tensor]:
    """The sign of T, and logit(T^2 / (T^2 + df)), `(n, *batch)`; without a gradient."""
    df = df.detach()
    if by_quantile(noise):
        u = noise.uniform(n, df.double())
        return torch.sign(u - 0.5), _logit_of(2 * torch.minimum(u, 1 - u), df)
    normal = noise.normal(n, df).double()
    # X / (1 - X) is the ratio of Gamma(1/2), half the square of a normal, and Gamma(df/2).
    gamma = normal.square().div(2).clamp(min=torch.finfo(normal.dtype).tiny)
    return torch.sign(normal), gamma.log() - draw_log_gamma(df / 2, n, noise)


def _logit_of(outside: Tensor, df: Tensor) -> Tensor:
    """logit(t^2 / (t^2 + df)) of the t with P(|T| > t) = outside; without a gradient."""
    # 1 - X ~ Beta(df/2, 1/2) is below its quantile then, exact for levels near 0.
    outside = outside.clamp(max=1 - torch.finfo(outside.dtype).eps / 2)
    return -beta_logit_quantile(outside, df / 2, torch.full_like(df, 0.5))
