"""The von Mises-Fisher distribution: the normal of the sphere."""

from math import lgamma, log, pi

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from reparam.distributions.polar import Polar
from reparam.distributions.reparameterized import Reparameterized
from reparam.noise import Noise


class _Sphere(constraints.Constraint):
    """Vectors of length 1, to the square root of the precision."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        tolerance = torch.finfo(value.dtype).eps ** 0.5
        length: Tensor = torch.linalg.vector_norm(value, dim=-1)
        near: Tensor = (length - 1).abs() <= tolerance
        return near


class VonMisesFisher(Reparameterized):
    """Density proportional to exp(kappa loc . x) on the unit sphere in d dimensions.

    Mardia & Jupp 2000, "Directional Statistics", section 9.3.2. The gradient reaches loc by a
    reflection and kappa through the CDF of the angle to loc; at kappa = 0 it is uniform.

    loc: mean direction `(*batch, d)` of length 1, d >= 2.
    concentration: kappa >= 0, broadcast against the batch shape of loc.

    Given uniforms `(n, *batch, d)`: the first is the level of the angle, those after it choose the
    direction around loc.

    >>> q = VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(5.0))
    >>> q.rsample((2,)).shape
    torch.Size([2, 3])
    """

    arg_constraints = {"loc": _Sphere(), "concentration": constraints.nonnegative}  # noqa: RUF012
    support = _Sphere()

    def __init__(
        self,
        loc: Tensor,
        concentration: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        if loc.ndim == 0 or loc.shape[-1] < 2:
            raise ValueError(
                f"loc: expected directions (*batch, d) with d >= 2, got {tuple(loc.shape)}; on the "
                "line a sign is a Bernoulli"
            )
        kappa = torch.as_tensor(concentration, dtype=loc.dtype, device=loc.device)
        batch = torch.broadcast_shapes(loc.shape[:-1], kappa.shape)  # type: ignore[no-untyped-call]
        self.loc, self.concentration = loc.expand(*batch, loc.shape[-1]), kappa.expand(batch)
        super().__init__(batch, loc.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """A loc, inside the sphere; A = I_{d/2}(kappa) / I_{d/2-1}(kappa)."""
        return (self._polar.mean_cosine.unsqueeze(-1) * self.loc).to(self.loc.dtype)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Of each coordinate."""
        polar, d = self._polar, self.event_shape[0]
        a = polar.mean_cosine
        across = polar.quotient  # (1 - E cos^2) / (d - 1)
        along = (1 - d * across - a * a).unsqueeze(-1)
        return (along * self.loc.double().square() + across.unsqueeze(-1)).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """With respect to the surface of the sphere."""
        if self._validate_args:
            self._validate_sample(value)
        # 1 - loc . x as a distance: the product would cancel near loc.
        gap = (value.double() - self.loc.double()).square().sum(-1) / 2
        return (-self.concentration.double() * gap - self._log_normalizer()).to(self.loc.dtype)

    def entropy(self) -> Tensor:
        polar = self._polar
        return (self._log_normalizer() + polar.kappa * (1 - polar.mean_cosine)).to(self.loc.dtype)

    def kl_divergence(self, other: "VonMisesFisher") -> Tensor:
        """KL(self || other) in closed form; `other` with concentration 0 is the uniform one.

        torch's `kl_divergence` calls it.
        """
        p, q = self._polar, other._polar  # noqa: SLF001
        a = p.mean_cosine
        gap = (self.loc.double() - other.loc.double()).square().sum(-1) / 2
        change = q.log_normalizer - p.log_normalizer - (p.kappa - q.kappa) * (1 - a)
        return (change + q.kappa * a * gap).to(self.loc.dtype)

    @property
    def _polar(self) -> Polar:
        return Polar(self.concentration, self.event_shape[0])

    @property
    def _fixed(self) -> Polar:
        return Polar(self.concentration.detach(), self.event_shape[0])

    def _log_normalizer(self) -> Tensor:
        """log Z - kappa over the sphere: the angle's, times the surface of the sphere around."""
        d = self.event_shape[0]
        around = log(2) + (d - 1) / 2 * log(pi) - lgamma((d - 1) / 2)
        return self._polar.log_normalizer + around

    def _draw(self, n: int, noise: Noise) -> Tensor:
        """The angle to loc, and a direction across: `(n, *batch, d)`."""
        parts = (noise, noise)
        if noise.uniforms is not None:
            u = noise.uniform(n, self.loc.double())
            parts = Noise(uniforms=u[..., 0]), Noise(uniforms=u[..., 1:])
        angle = self._fixed.draw(n, parts[0])
        across = parts[1].normal(n, self.loc[..., 1:].double())
        across = across / torch.linalg.vector_norm(across, dim=-1, keepdim=True)
        return torch.cat([angle.unsqueeze(-1), across], -1)

    def _attach(self, values: Tensor) -> Tensor:
        kappa = self.concentration
        angle = Polar(kappa, self.event_shape[0], kappa.dtype).moving(values[..., 0])
        return self._placed(angle, values[..., 1:])

    def _finish(self, values: Tensor) -> Tensor:
        return self._placed(values[..., 0], values[..., 1:])

    def _placed(self, angle: Tensor, across: Tensor) -> Tensor:
        """Points at an angle to loc: made around +-e_1, the further, and reflected onto loc."""
        loc = self.loc.double()
        sign = torch.where(loc[..., :1] > 0, -1.0, 1.0).to(loc.dtype)
        first = sign * torch.cos(angle).unsqueeze(-1)
        x = torch.cat([first, torch.sin(angle).unsqueeze(-1) * across], -1)
        normal = loc - torch.cat([sign, torch.zeros_like(loc[..., 1:])], -1)
        share = (x * normal).sum(-1, keepdim=True) / normal.square().sum(-1, keepdim=True)
        return (x - 2 * share * normal).to(self.loc.dtype)


register_kl(VonMisesFisher, VonMisesFisher)(VonMisesFisher.kl_divergence)  # type: ignore[no-untyped-call]
