"""Perturb-and-MAP: whatever the user's solver makes of noisy parameters; nothing more is known."""

from typing import NoReturn

from torch import Tensor

from reparam.distributions import PerturbAndMap
from reparam.families.base import Family, family
from reparam.noise import Noise


class PerturbAndMapFamily(Family):
    """y = solver(z), z = theta + scale Z; logits stands for theta. The trace is z itself."""

    tractable = False

    def __init__(self, q: PerturbAndMap) -> None:
        self.q = q
        self.logits = q.theta

    def perturb(self, n: int, noise: Noise) -> Tensor:
        return self.q.perturb(n, noise)

    def hard(self, z: Tensor) -> Tensor:
        return self.q.solve(z)

    def trace(self, z: Tensor) -> Tensor:
        return z.detach()

    def outcome(self, trace: Tensor) -> Tensor:
        return self.hard(trace)

    def trace_log_prob(self, trace: Tensor) -> Tensor:
        each = self.q.perturbed_log_prob(trace)
        dims = len(self.q.event_shape)
        return each.sum(tuple(range(-dims, 0))) if dims else each

    def condition(self, trace: Tensor, noise: Noise) -> Tensor:
        if self.q.scale.requires_grad:
            raise TypeError(
                "q: expected a fixed scale, got one that is learned, which a control variate in "
                "theta does not train; use 'score' or 'rloo'"
            )
        return trace

    def soft(self, z: Tensor, tau: float | Tensor) -> NoReturn:
        raise _unknown("a relaxation")

    def log_prob(self, points: Tensor) -> NoReturn:
        raise _unknown("a log-probability")

    def support(self) -> NoReturn:
        raise _unknown("a known support")


def _unknown(wanted: str) -> TypeError:
    return TypeError(
        f"q: expected a distribution with {wanted}, got PerturbAndMap, of which only the solver is "
        "known; use 'imle', 'perturbed', 'score' or 'rloo'"
    )


family.register(PerturbAndMap, PerturbAndMapFamily)
