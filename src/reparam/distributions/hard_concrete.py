"""The hard concrete distribution: gates in [0, 1] that are exactly 0 or 1 with positive mass."""

from collections.abc import Callable
from math import ceil, log, pi
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all
from torch.nn.functional import logsigmoid
from torch.types import _size

from reparam.checks import check_floating, working_dtype
from reparam.distributions.reparameterized import Reparameterized
from reparam.functional.hard_concrete import (
    check_gate_tau,
    check_interval,
    hard_concrete_eval,
    hard_concrete_l0,
    stretched,
)
from reparam.noise import Noise
from reparam.special.quadrature import integral


class HardConcrete(Reparameterized):
    """z = clamp(s (zeta - gamma) + gamma, 0, 1), s = sigmoid((logits + L) / tau), L logistic.

    Louizos et al. 2018, "Learning sparse neural networks through L0 regularization",
    arXiv:1712.01312: their log alpha is `logits`, their beta is tau. Event shape ().

    The law has a mass at 0, one at 1, and a density between. `log_prob` is the logarithm of the
    mass at 0 and at 1, and of the density with respect to length on (0, 1): the density with
    respect to length plus a unit of mass at either end. `entropy` is -E[log_prob(z)]. Both the
    pathwise gradient and the score's, which feels the masses too, are unbiased.

    logits: any shape; infinite ones leave one outcome. tau: temperature > 0. gamma < 0 and
    zeta > 1: the interval that gates are clamped from. Probabilities and moments come in float32
    (float64 for float64): half precision cannot hold them. Samples are cast to the logits' dtype.

    >>> q = HardConcrete(torch.zeros(2), tau=1.0, gamma=-0.5, zeta=1.5)
    >>> q.mass_at_zero, q.mass_at_one, q.mean
    (tensor([0.2500, 0.2500]), tensor([0.2500, 0.2500]), tensor([0.5000, 0.5000]))
    """

    arg_constraints = {"logits": constraints.real}  # noqa: RUF012
    support = constraints.unit_interval

    def __init__(
        self,
        logits: Tensor | float,
        tau: float = 2 / 3,
        gamma: float = -0.1,
        zeta: float = 1.1,
        validate_args: bool | None = None,
    ) -> None:
        (self.logits,) = broadcast_all(logits)
        check_floating("logits", self.logits)
        check_gate_tau(tau)
        check_interval(gamma, zeta)
        self.tau, self.gamma, self.zeta = tau, gamma, zeta
        super().__init__(self.logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> "HardConcrete":
        new = self._get_checked_instance(HardConcrete, _instance)  # type: ignore[no-untyped-call]
        new.tau, new.gamma, new.zeta = self.tau, self.gamma, self.zeta
        return super().expand(batch_shape, new)

    @property
    def mass_at_zero(self) -> Tensor:
        """P(z = 0)."""
        return torch.sigmoid(self.tau * self._ends[0] - self._wide)

    @property
    def mass_at_one(self) -> Tensor:
        """P(z = 1)."""
        return torch.sigmoid(self._wide - self.tau * self._ends[1])

    @property
    def l0(self) -> Tensor:
        """P(z != 0), whose sum is the L0 penalty (Louizos et al. 2018)."""
        return hard_concrete_l0(self._wide, self.tau, self.gamma, self.zeta)

    @property
    def evaluation_gate(self) -> Tensor:
        """The gate to evaluate a trained network with (Louizos et al. 2018); not the mean."""
        return hard_concrete_eval(self.logits, self.gamma, self.zeta)

    @property
    def mean(self) -> Tensor:
        distance, _, from_one = self._moments()
        return torch.where(from_one, 1 - distance, distance).to(self._wide.dtype)

    @property
    def variance(self) -> Tensor:
        distance, square, _ = self._moments()
        return (square - distance * distance).to(self._wide.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        x, low, high = self._logit(value), *self._ends
        log_p = self._log_density(x, self._wide) - self._log_slope(x)
        log_p = torch.where(value == 0, logsigmoid(self.tau * low - self._wide), log_p)
        log_p = torch.where(value == 1, logsigmoid(self._wide - self.tau * high), log_p)
        return log_p.masked_fill((value < 0) | (value > 1), -torch.inf)

    def cdf(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        below = torch.sigmoid(self.tau * self._logit(value) - self._wide)
        return torch.where(value < 1, below.masked_fill(value < 0, 0), 1)

    def icdf(self, value: Tensor) -> Tensor:
        """The least z in [0, 1] with cdf(z) >= value; differentiable in the logits."""
        return self._attach(self._level(value).logit())

    def entropy(self) -> Tensor:
        sure = self._wide.isinf()
        logits = self._wide.double().masked_fill(sure, 0)

        def term(x: Tensor) -> Tensor:
            log_p = self._log_density(x, logits)
            return log_p.exp() * (log_p - self._log_slope(x))

        low, high = (self.tau * end - logits for end in self._ends)
        ends = torch.sigmoid(low) * logsigmoid(low) + torch.sigmoid(-high) * logsigmoid(-high)
        return (-self._integral(term) - ends).masked_fill(sure, 0).to(self._wide.dtype)

    def _draw(self, n: int, noise: Noise) -> Tensor:
        return noise.logistic(n, self.logits)

    def _attach(self, values: Tensor) -> Tensor:
        s = torch.sigmoid((self._wide + values) / self.tau)
        return stretched(s, self.gamma, self.zeta).to(self.logits.dtype)

    @property
    def _wide(self) -> Tensor:
        return self.logits.to(working_dtype(self.logits.dtype))

    @property
    def _ends(self) -> tuple[float, float]:
        """The logits of s where z reaches 0 and 1."""
        return log(-self.gamma / self.zeta), log((1 - self.gamma) / (self.zeta - 1))

    def _logit(self, value: Tensor) -> Tensor:
        """The logit x of s at z = value, which is Logistic(logits / tau, 1 / tau)."""
        z = value.to(torch.promote_types(value.dtype, self._wide.dtype)).clamp(0, 1)
        return (z - self.gamma).log() - (self.zeta - z).log()

    def _log_density(self, x: Tensor, logits: Tensor) -> Tensor:
        """The log-density of x."""
        a = self.tau * x - logits
        return log(self.tau) + logsigmoid(a) + logsigmoid(-a)

    def _log_slope(self, x: Tensor) -> Tensor:
        """log dz/dx."""
        return log(self.zeta - self.gamma) + logsigmoid(x) + logsigmoid(-x)

    def _moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """E[w] and E[w^2], w the distance from the likelier end, and whether that is 1.

        E[w^k] is the integral of k w^(k - 1) P(w' > w) over w. Near one end, a variance from the
        distance to the other would cancel.
        """
        logits = self._wide.double()
        from_one = logits > 0
        sign = torch.where(from_one, -1.0, 1.0)

        def terms(x: Tensor) -> Tensor:
            z = torch.sigmoid(x) * (self.zeta - self.gamma) + self.gamma
            beyond = torch.sigmoid(sign * (logits - self.tau * x)) * self._log_slope(x).exp()
            return torch.stack([beyond, 2 * torch.where(from_one, 1 - z, z) * beyond])

        distance, square = self._integral(terms)
        return distance, square, from_one

    def _integral(self, f: Callable[[Tensor], Tensor]) -> Tensor:
        """The integral of f(x) from one end to the other; f may add leading dimensions.

        Its poles are pi / max(1, tau) from the real line or farther. Panels at most four times as
        long leave an error of 1e-14.
        """
        low, high = self._ends
        panels = ceil((high - low) * max(1.0, self.tau) / (4 * pi))
        edges = torch.linspace(low, high, panels + 1, dtype=torch.float64)
        edges = edges.to(self.logits.device).view(-1, *[1] * self.logits.ndim)
        return integral(f, edges[:-1], edges[1:]).sum(-1 - self.logits.ndim)
