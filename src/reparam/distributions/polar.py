"""The angle from the mean direction on a sphere in d dimensions: what von Mises and Fisher share.

Its density on (0, pi) is exp(kappa cos t) sin(t)^(d - 2) / Z. All is computed in float64. Integrals
are taken from the angle to the end of its own side of the mean, where nothing cancels.
"""

from collections.abc import Callable
from math import lgamma, log, pi

import torch
from torch import Tensor

from reparam.checks import inspectable
from reparam.noise import Noise
from reparam.special.bessel import bessel_quotient, log_bessel_and_quotient
from reparam.special.implicit import at_fixed_quantile, in_chunks
from reparam.special.tails import FINE, Rule, rule_for, tail_integrals

_STEPS = 20


class Polar:
    """The law of the angle; kappa `(*batch)` >= 0, dim >= 2.

    Quantiles and draws are meant for a detached kappa. digits: the dtype whose precision slopes
    are to have.
    """

    def __init__(self, kappa: Tensor, dim: int, digits: torch.dtype = torch.float64) -> None:
        self.kappa, self.dim, self.digits = kappa.double(), dim, digits
        self._known: tuple[Tensor, Tensor] | None = None

    @property
    def _bessel(self) -> tuple[Tensor, Tensor]:
        # Not a cached_property, whose lock the compiler cannot trace; and sampling needs neither.
        if self._known is None:
            self._known = log_bessel_and_quotient(self.dim / 2 - 1, self.kappa)
        return self._known

    @property
    def quotient(self) -> Tensor:
        """A(kappa) / kappa, which is also E[sin(t)^2] / (d - 1)."""
        return self._bessel[1]

    @property
    def mean_cosine(self) -> Tensor:
        """A(kappa) = I_{d/2}(kappa) / I_{d/2-1}(kappa), the length of the mean direction."""
        return self.kappa * self.quotient

    @property
    def log_normalizer(self) -> Tensor:
        """log Z - kappa."""
        d = self.dim
        return log(pi) / 2 + lgamma((d - 1) / 2) + (d / 2 - 1) * log(2) + self._bessel[0]

    def log_density(self, angle: Tensor) -> Tensor:
        """Of the angle, `(n, *batch)`."""
        return self._height(angle) - self.log_normalizer

    def tails(self, angle: Tensor) -> tuple[Tensor, Tensor]:
        """P(t < angle) and P(t > angle); differentiable."""
        near = self._near(angle)
        side = self._side(angle, near, torch.ones_like, FINE).abs() * self.log_density(angle).exp()
        return torch.where(near, side, 1 - side), torch.where(near, 1 - side, side)

    def moving(self, angle: Tensor) -> Tensor:
        """The angle `(n, *batch)` as it is, a function of kappa at a fixed level of its CDF."""

        def slopes(angle: Tensor, kappa: Tensor) -> tuple[Tensor]:
            return (Polar(kappa, self.dim, self.digits).slope(angle),)

        return at_fixed_quantile(angle, in_chunks(slopes), self.kappa)

    def slope(self, angle: Tensor) -> Tensor:
        """dt/dkappa of the angle at a fixed level of its CDF; differentiable.

        With p the density and A the mean cosine, dF/dkappa is the integral of (cos t - A) p: that
        from above, as that over the whole is 0.
        """
        quotient = bessel_quotient(self.dim / 2 - 1, self.kappa, self.digits)
        middle = 1 - self.kappa * quotient
        near = versine(angle.detach()) <= middle.detach()
        return self._side(angle, near, lambda v: middle - v, rule_for(self.digits))

    def quantile(self, lower: Tensor, upper: Tensor) -> Tensor:
        """The angle below which lies `lower`, and above which `upper` = 1 - `lower`.

        Newton's method from the mode, on the logarithm of the tail beyond it, which is concave.
        """
        mode = self._mode()
        angle = mode.expand(lower.shape)
        below, _ = self.tails(angle)
        left = lower < below
        level = torch.where(left, lower, upper).log()
        for _ in range(_STEPS):
            log_tail, width = self._log_tail(angle, left)
            step = (log_tail - level) * width
            # Outwards in the logarithm of the room that is left, of which a tail is a power.
            room = torch.where(left, angle, pi - angle)
            move = torch.where(step > 0, room * -torch.expm1(-step / room), step)
            moved = torch.where(left, angle - move, angle + move)
            moved = torch.where((moved > mode) == left, (angle + mode) / 2, moved)
            # Convergence is quadratic: the next step would be below rounding.
            done = (moved - angle).abs() <= 1e-9 * angle
            angle = moved
            if inspectable() and bool(done.all()):
                break
        return angle

    def draw(self, n: int, noise: Noise) -> Tensor:
        """Angles `(n, *batch)`."""
        if noise.key is None and noise.uniforms is None and inspectable():
            return self._rejected(n, noise.generator)
        u = noise.uniform(n, self.kappa)
        return self.quantile(u, 1 - u)

    def _rejected(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Wood 1994, "Simulation of the von Mises Fisher distribution", with angles for cosines.

        doi:10.1080/03610919408813161. Two of three proposals or more are accepted.
        """
        kappa = self.kappa.expand(n, *self.kappa.shape).flatten()
        propose = in_chunks(lambda kappa: self._proposed(kappa, generator))
        angles, accepted = propose(kappa)
        pending = (~accepted).nonzero().squeeze(-1)
        while len(pending):
            angles[pending], accepted = propose(kappa[pending])
            pending = pending[~accepted]
        return angles.view(n, *self.kappa.shape)

    def _proposed(self, kappa: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Angles, and whether each is accepted."""
        m = self.dim - 1
        b = m / (2 * kappa + torch.sqrt(4 * kappa * kappa + m * m))
        z = self._beta(kappa, generator)
        v = 2 * b * z / (1 - (1 - b) * z)
        peak = 2 * b / (1 + b)
        stretch = (peak + (1 - peak) * v) * (1 + b).square() / (4 * b)
        height = kappa * (peak - v) + m * stretch.log()
        accepted = torch.empty_like(v).uniform_(generator=generator) < height.exp()
        return 2 * torch.asin(torch.sqrt(v / 2)), accepted

    def _beta(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Beta((d - 1) / 2, (d - 1) / 2)."""
        if self.dim == 2:
            u = torch.empty_like(like).uniform_(generator=generator)
            return torch.sin(pi / 2 * u).square()
        shape = torch.full_like(like, (self.dim - 1) / 2)
        one, other = (torch._standard_gamma(shape, generator=generator) for _ in range(2))  # noqa: SLF001
        return one / (one + other)

    def _log_tail(self, angle: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        """log P(t < angle) where `left`, else log P(t > angle); and that tail over the density."""
        near, log_p = self._near(angle), self.log_density(angle)
        side = self._side(angle, near, torch.ones_like, FINE).abs()
        mass = side * log_p.exp()
        inside = near == left
        log_tail = torch.where(inside, side.log() + log_p, torch.log1p(-mass))
        return log_tail, torch.where(inside, side, (1 - mass) / log_p.exp())

    def _near(self, angle: Tensor) -> Tensor:
        """Whether the angle is on the side of the mean direction: cos t >= A."""
        return versine(angle.detach()) <= 1 - self.mean_cosine.detach()

    def _side(
        self, angle: Tensor, near: Tensor, f: Callable[[Tensor], Tensor], rule: Rule
    ) -> Tensor:
        """The integral of f(1 - cos t) p(t) / p(angle) from the angle to the end of its side.

        The nearer end is below: lengths count as negative there.
        """
        half, sine = angle / 2, torch.sin(angle)
        level, rate = torch.sin(half).square(), 2 * self.kappa

        def integrand(r: Tensor) -> tuple[Tensor]:
            v = (half + r).sin_().pow_(2)
            height = (level - v).mul_(rate).exp_()
            if self.dim > 2:
                height = height * (torch.sin(angle + 2 * r) / sine) ** (self.dim - 2)
            return (f(2 * v) * height,)

        reach = self._end(angle.detach(), near, rule.nats) / 2 - half
        return 2 * tail_integrals(integrand, reach, rule)[0][0]

    def _end(self, angle: Tensor, near: Tensor, nats: float) -> Tensor:
        """0 or pi, or where the density has fallen by e^-nats before."""
        if self.dim == 2:
            cosine = (torch.cos(angle) - nats / self.kappa.detach()).clamp(-1)
            return torch.where(near, 0, torch.acos(cosine))
        lowest = self._height(angle) - nats
        outer = torch.where(near, 0, pi).to(angle.dtype)
        inner = angle
        for _ in range(24):
            middle = (inner + outer) / 2
            inside = self._height(middle) > lowest
            inner = torch.where(inside, middle, inner)
            outer = torch.where(inside, outer, middle)
        return outer

    def _height(self, angle: Tensor) -> Tensor:
        height = -self.kappa * versine(angle)
        return height + (self.dim - 2) * torch.sin(angle).log() if self.dim > 2 else height

    def _height_slope(self, angle: Tensor) -> Tensor:
        slope = -self.kappa * torch.sin(angle)
        return slope + (self.dim - 2) / torch.tan(angle) if self.dim > 2 else slope

    def _mode(self) -> Tensor:
        """Where kappa sin(t)^2 = (d - 2) cos(t)."""
        m = self.dim - 2
        root = torch.sqrt(m * m + 4 * self.kappa * self.kappa)
        return torch.atan2((2 * m * (root + m)).sqrt(), 2 * self.kappa) if m else 0 * root


def versine(angle: Tensor) -> Tensor:
    """1 - cos(angle), without a cancellation."""
    return 2 * torch.sin(angle / 2).square()
