"""Perturb-and-MAP: a distribution over the vertices that a solver finds for noisy parameters."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.types import _size

from reparam.checks import check_count, check_floating
from reparam.distributions.gamma import draw_log_gamma
from reparam.noise import Noise

Solver = Callable[[Tensor], Tensor]
"""theta `(N, *event)` -> the vertices y `(N, *event)` with the largest <theta, y>."""


class Perturbation(ABC):
    """Noise of one coordinate, at scale 1."""

    @abstractmethod
    def draw(self, n: int, like: Tensor, noise: Noise) -> Tensor:
        """Independent values `(n, *like.shape)`, in float32 (float64 for float64)."""

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density, elementwise."""


@dataclass(frozen=True)
class GumbelNoise(Perturbation):
    """Gumbel(0, 1): of one-hot vertices, it makes the categorical distribution."""

    def draw(self, n: int, like: Tensor, noise: Noise) -> Tensor:
        return noise.gumbel(n, like)

    def log_prob(self, value: Tensor) -> Tensor:
        return -value - torch.exp(-value)


@dataclass(frozen=True)
class NormalNoise(Perturbation):
    """N(0, 1)."""

    def draw(self, n: int, like: Tensor, noise: Noise) -> Tensor:
        return noise.normal(n, like)

    def log_prob(self, value: Tensor) -> Tensor:
        return -value.square() / 2 - log(2 * pi) / 2


@dataclass(frozen=True)
class SumOfGammaNoise(Perturbation):
    """(1/k) (sum_{i <= terms} Gamma(1/k, rate i/k) - log terms): k of them sum to Gumbel(0, 1).

    Niepert et al. 2021, section 3.3, arXiv:2106.01798: for vertices with k ones, whose perturbed
    sums are then Gumbel distributed, up to the terms left out.

    Given uniforms have a last dimension of their own, `(n, *batch, *event, terms)`.
    """

    k: int
    terms: int = 10

    def __post_init__(self) -> None:
        check_count("k", self.k)
        check_count("terms", self.terms)

    def draw(self, n: int, like: Tensor, noise: Noise) -> Tensor:
        concentration = torch.full_like(like, 1 / self.k, dtype=torch.float64)
        each = concentration.unsqueeze(-1).expand(*like.shape, self.terms)
        place = torch.arange(1, self.terms + 1, device=like.device)
        total = (draw_log_gamma(each, n, noise).exp() / place).sum(-1)
        dtype = torch.promote_types(like.dtype, torch.float32)
        return (total - log(self.terms) / self.k).to(dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        raise TypeError(
            "q: expected noise with a density, got SumOfGammaNoise; use 'imle', or NormalNoise()"
        )


class PerturbAndMap(Distribution):
    """y = argmax of <theta + scale Z, y> over the vertices y that a solver knows, Z noise.

    Papandreou & Yuille 2011, "Perturb-and-MAP random fields", doi:10.1109/ICCV.2011.6126242.

    theta: `(*batch, *event)`, event_dim dimensions of it the event's; -inf forbids a coordinate, if
        the solver takes it.
    solver: theta `(N, *event)` -> vertices `(N, *event)` with the largest <theta, y>; any program,
        on shortest paths (theta = -lengths), assignments, rankings, spanning trees. Of one that
        takes a single theta, `lambda thetas: torch.stack([solve(theta) for theta in thetas])`. It
        is never differentiated.
    noise: `GumbelNoise()`, `NormalNoise()` or `SumOfGammaNoise(k)`, of `reparam.distributions`.
    scale: > 0, broadcasts against theta, and may be learned.

    There is no `log_prob`: the probability of a vertex is an integral over all noise that the
    solver maps to it. Expectations are differentiated without it: of any cost by `Score` and
    `Rloo`, from the density of the noise; of differentiable ones by `Imle` and `Perturbed`.

    >>> def ranks(scores):  # of all permutations of 0 .. n - 1, the one in the order of the scores
    ...     return scores.argsort(-1).argsort(-1).to(scores)
    >>> q = PerturbAndMap(torch.tensor([30.0, -50.0, 10.0]), ranks, NormalNoise())
    >>> q.sample()
    tensor([2., 0., 1.])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "theta": constraints.real,
        "scale": constraints.positive,
    }

    def __init__(
        self,
        theta: Tensor,
        solver: Solver,
        noise: Perturbation = GumbelNoise(),
        *,
        scale: float | Tensor = 1.0,
        event_dim: int = 1,
        validate_args: bool | None = None,
    ) -> None:
        check_floating("theta", theta)
        check_count("event_dim", event_dim, least=0)
        if theta.ndim < event_dim:
            raise ValueError(
                f"theta: expected at least event_dim={event_dim} dimensions, got shape "
                f"{tuple(theta.shape)}"
            )
        self.theta, self.solver, self.noise = theta, solver, noise
        self.scale = torch.as_tensor(scale).to(theta).expand(theta.shape)
        batch = theta.ndim - event_dim
        super().__init__(theta.shape[:batch], theta.shape[batch:], validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> "PerturbAndMap":
        new: PerturbAndMap = self._get_checked_instance(PerturbAndMap, _instance)  # type: ignore[no-untyped-call]
        shape = torch.Size(batch_shape) + self.event_shape
        new.theta, new.scale = self.theta.expand(shape), self.scale.expand(shape)
        new.solver, new.noise = self.solver, self.noise
        Distribution.__init__(new, torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.real, len(self.event_shape))  # type: ignore[no-untyped-call]

    def perturb(self, n: int, noise: Noise) -> Tensor:
        """theta + scale Z, `(n, *batch, *event)`, with the gradient to both."""
        return self.theta + self.scale * self.noise.draw(n, self.theta, noise)

    def solve(self, z: Tensor) -> Tensor:
        """The solver's vertices of z `(*any, *event)`, in theta's dtype, without a gradient."""
        rows = z.detach().reshape(-1, *self.event_shape)
        if rows.numel() == 0:
            return self.theta.new_zeros(z.shape)
        with torch.no_grad():
            vertices = self.solver(rows)
        if not isinstance(vertices, Tensor) or vertices.shape != rows.shape:
            got = tuple(vertices.shape) if isinstance(vertices, Tensor) else type(vertices).__name__
            raise ValueError(
                f"solver: expected vertices of the shape of its argument, {tuple(rows.shape)}, got "
                f"{got}; a solver of one theta is called on each of the first dimension"
            )
        return vertices.detach().to(self.theta).reshape(z.shape)

    def perturbed_log_prob(self, z: Tensor) -> Tensor:
        """Log-density of perturbed parameters z, elementwise; 0 where theta is -inf."""
        # What cannot move has no density, and z - theta would be NaN there.
        fixed = self.theta == -torch.inf
        offset = (z - self.theta.masked_fill(fixed, 0)).masked_fill(fixed, 0)
        each = self.noise.log_prob(offset / self.scale) - self.scale.log()
        return each.masked_fill(fixed, 0)

    def sample(
        self,
        sample_shape: _size = torch.Size(),  # noqa: B008
        noise: Noise | None = None,
    ) -> Tensor:
        shape = torch.Size(sample_shape)
        with torch.no_grad():
            points = self.solve(self.perturb(shape.numel(), noise or Noise()))
        return points.reshape(self._extended_shape(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError(
            "PerturbAndMap has no log_prob: the probability of a vertex is an integral over all "
            "noise that the solver maps to it; 'rloo', 'imle' and 'perturbed' do without"
        )
