"""The normal distribution between two bounds, any distance from its mean."""

from collections.abc import Callable
from math import log, pi
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal, constraints
from torch.distributions.kl import register_kl
from torch.distributions.utils import broadcast_all

from reparam.checks import inspectable
from reparam.distributions.levels import between
from reparam.distributions.reparameterized import Reparameterized
from reparam.noise import Noise
from reparam.special.implicit import at_fixed_quantile
from reparam.special.normal import beyond, log_tail_ratio
from reparam.special.quadrature import integral

_NATS = 40.0
_HALF_LOG_2PI = log(2 * pi) / 2


class TruncatedNormal(Reparameterized):
    """N(loc, scale^2) given that it lies between low and high; event shape ().

    Johnson et al. 1994, "Continuous Univariate Distributions", volume 1, section 13.10.1. All is
    computed in float64 from the standardized bounds (a, b), in forms that neither cancel nor
    underflow: 1000 scales out in a tail as in the middle.

    loc, scale, low, high: low < high, either may be infinite; broadcast to the batch shape.
    Gradients reach all four.

    >>> q = TruncatedNormal(0.0, 1.0, 10.0, float("inf"))
    >>> round(q.mean.item(), 4)
    10.0981
    """

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real,
        "scale": constraints.positive,
        "low": constraints.dependent(is_discrete=False, event_dim=0),
        "high": constraints.dependent(is_discrete=False, event_dim=0),
    }

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        low: Tensor | float,
        high: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.scale, self.low, self.high = broadcast_all(loc, scale, low, high)
        super().__init__(self.loc.shape, validate_args=validate_args)
        if self._validate_args and inspectable() and not bool((self.low < self.high).all()):
            bad = int((~(self.low < self.high)).sum())
            raise ValueError(
                f"low, high: expected low < high, got {bad} of {self.low.numel()} pairs otherwise; "
                "an open side is an infinite bound"
            )

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        return constraints.interval(self.low, self.high)  # type: ignore[no-untyped-call]

    @property
    def mean(self) -> Tensor:
        centre, first, _ = self._moments()
        return self._scaled(centre + first)

    @property
    def mode(self) -> Tensor:
        return self.loc.clamp(self.low, self.high)

    @property
    def variance(self) -> Tensor:
        _, first, second = self._moments()
        return (self.scale.double().square() * (second - first * first)).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        x = self._standard(value)
        centre, log_mass = self._log_mass(*self._bounds)
        height = -(x - centre) * (x + centre) / 2 - log_mass
        inside = (value >= self.low) & (value <= self.high)
        log_p = (height - self.scale.double().log()).masked_fill(~inside, -torch.inf)
        return log_p.to(self.loc.dtype)

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        a, b = self._bounds
        x = torch.minimum(torch.maximum(self._standard(value), a), b)
        (part, log_part), (whole, log_whole) = self._log_mass(a, x), self._log_mass(a, b)
        fall = (whole - part) * (whole + part) / 2
        return (log_part - log_whole + fall).exp().to(self.loc.dtype)

    def icdf(self, value: Tensor) -> Tensor:
        """Differentiable in the level and the parameters."""

        def slopes(x: Tensor, a: Tensor, b: Tensor, u: Tensor) -> tuple[Tensor, ...]:
            return *self._bound_slopes(x, a, b, u), self._level_slope(x, a, b)

        def quantile(level: Tensor) -> Tensor:
            return self._points(self._quantile(level.detach()), slopes, level)

        return between(self.low, self.high, self._level(value), quantile)

    def entropy(self) -> Tensor:
        return self._entropy().to(self.loc.dtype)

    def kl_divergence(self, other: "TruncatedNormal | Normal") -> Tensor:
        """KL(self || other) in closed form, infinite where `other` does not cover self's support.

        torch's `kl_divergence` calls it.
        """
        centre, first, second = self._moments()
        loc, scale = other.loc.double(), other.scale.double()
        shift = (self.loc.double() + self.scale.double() * centre - loc) / scale
        ratio = self.scale.double() / scale
        square = shift * shift + ratio * (2 * shift * first + ratio * second)
        cross = square / 2 + scale.log() - self._entropy()
        if isinstance(other, Normal):
            return (cross + _HALF_LOG_2PI).to(self.loc.dtype)
        other_centre, log_mass = other._log_mass(*other._bounds)  # noqa: SLF001
        covered = (other.low <= self.low) & (other.high >= self.high)
        kl = cross + log_mass - other_centre.square() / 2
        return kl.masked_fill(~covered, torch.inf).to(self.loc.dtype)

    @property
    def _bounds(self) -> tuple[Tensor, Tensor]:
        return self._bound(self.low), self._bound(self.high)

    def _bound(self, value: Tensor) -> Tensor:
        # An infinite bound is kept from the arithmetic, whose derivatives would be NaN.
        infinite = value.isinf()
        return torch.where(
            infinite, value.detach().double(), self._standard(value.masked_fill(infinite, 0))
        )

    def _standard(self, value: Tensor) -> Tensor:
        return (value.double() - self.loc.double()) / self.scale.double()

    def _scaled(self, x: Tensor) -> Tensor:
        return (self.loc.double() + self.scale.double() * x).to(self.loc.dtype)

    def _log_mass(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """The mode c in (a, b), and the log of the integral of exp((c^2 - x^2) / 2)."""
        c, (mass, _, _) = _integrals(a, b)
        return c, mass.log()

    def _moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """The mode c of the standardized law, E[x - c] and E[(x - c)^2]."""
        c, (mass, first, second) = _integrals(*self._bounds)
        return c, first / mass, second / mass

    def _entropy(self) -> Tensor:
        centre, first, second = self._moments()
        _, log_mass = self._log_mass(*self._bounds)
        return log_mass + centre * first + second / 2 + self.scale.double().log()

    def _draw(self, n: int, noise: Noise) -> Tensor:
        return noise.uniform(n, self.loc.double())

    def _attach(self, values: Tensor) -> Tensor:
        return self._points(
            self._quantile(values), lambda x, a, b: self._bound_slopes(x, a, b, values)
        )

    def _finish(self, values: Tensor) -> Tensor:
        return self._clamped(self._scaled(self._centre + self._quantile(values)))

    def _quantile(self, u: Tensor) -> Tensor:
        """Of the standardized law, less its mode."""
        a, b = (bound.detach() for bound in self._bounds)
        ndtr = torch.special.ndtr
        # With 0 inside: from the side on which what lies beyond is smaller.
        below = (1 - u) * ndtr(a) + u * ndtr(b)
        above = (1 - u) * ndtr(-a) + u * ndtr(-b)
        x = torch.special.ndtri(torch.minimum(below, above))
        x = torch.minimum(torch.maximum(torch.where(below < above, x, -x), a), b)
        # In a tail: the distance from the bound towards 0, as the others cannot be told apart.
        centre = _mode(a, b)
        near, rising = centre.abs(), centre > 0
        share, rest = torch.where(rising, u, 1 - u), torch.where(rising, 1 - u, u)
        log_ratio = log_tail_ratio(near, b - a)
        gone = share * torch.expm1(log_ratio)
        log_left = torch.logaddexp(rest.log(), share.log() + log_ratio)
        log_left = torch.where(gone > -0.5, torch.log1p(gone), log_left)
        away = torch.minimum(beyond(near, log_left), b - a)
        return torch.where(centre == 0, x, torch.where(rising, away, -away))

    def _points(
        self, distance: Tensor, slopes: Callable[..., tuple[Tensor, ...]], *level: Tensor
    ) -> Tensor:
        """Points at a standardized distance from the mode; they follow the bounds and the level."""
        a, b = self._bounds
        moving = a.masked_fill(a.isinf(), 0), b.masked_fill(b.isinf(), 0), *level
        distance = at_fixed_quantile(distance, slopes, *moving)
        return self._clamped(self._scaled(self._centre + distance))

    def _bound_slopes(self, x: Tensor, a: Tensor, b: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """dx/da = (1 - u) phi(a) / phi(x) and dx/db = u phi(b) / phi(x); 0 of an infinite bound."""
        centre = self._centre
        to_a = (x - (a - centre)) * (x + (a + centre)) / 2
        to_b = (x - (b - centre)) * (x + (b + centre)) / 2
        from_a = (1 - u) * to_a.masked_fill(self.low.isinf(), -torch.inf).exp()
        return from_a, u * to_b.masked_fill(self.high.isinf(), -torch.inf).exp()

    def _level_slope(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """dx/du = 1 / p(x)."""
        a = a.masked_fill(self.low.isinf(), -torch.inf)
        b = b.masked_fill(self.high.isinf(), torch.inf)
        centre, (mode, log_mass) = self._centre, self._log_mass(a, b)
        fall = x * (x + 2 * centre) / 2 + (centre - mode) * (centre + mode) / 2
        return (fall + log_mass).exp()

    @property
    def _centre(self) -> Tensor:
        """The mode of the standardized law, which distances are measured from."""
        return _mode(*self._bounds).detach()

    def _clamped(self, points: Tensor) -> Tensor:
        """Rounding may lead out of the bounds; the gradient stays."""
        inside = torch.minimum(torch.maximum(points, self.low), self.high)
        return points + (inside - points).detach()


for _other in (TruncatedNormal, Normal):
    register_kl(TruncatedNormal, _other)(TruncatedNormal.kl_divergence)  # type: ignore[no-untyped-call]


def _mode(a: Tensor, b: Tensor) -> Tensor:
    """0, or the bound nearest to it."""
    return torch.minimum(torch.maximum(torch.zeros_like(a), a), b)


def _integrals(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The mode c in (a, b), and the integrals of (x - c)^k exp((c^2 - x^2) / 2), k = 0, 1, 2.

    `(3, *batch)`; over where the density is within e^-40 of its mode's, on both sides of it.
    """
    c = _mode(a, b)
    reach = torch.sqrt(c * c + 2 * _NATS)
    low, high = torch.maximum(a, -reach), torch.minimum(b, reach)

    def powers(t: Tensor) -> Tensor:
        height = torch.exp(-t * (2 * c + t) / 2)
        return torch.stack([height, t * height, t * t * height])

    zero = torch.zeros_like(c)
    return c, integral(powers, low - c, zero) + integral(powers, zero, high - c)
