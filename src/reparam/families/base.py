"""The six primitives that every discrete distribution provides, and their dispatch."""

from abc import ABC, abstractmethod
from functools import singledispatch

from torch import Tensor
from torch.distributions import Distribution

from reparam.functional import straight_through
from reparam.noise import Noise

LARGEST_SUPPORT = 2**20


class Family(ABC):
    """A discrete distribution as perturbed logits: add noise, take the argmax, hard or soft.

    logits: `(*batch, *event)`. Perturbed logits z carry the gradient to the logits, in float32 or
    float64; points are cast to the logits' dtype.
    """

    logits: Tensor

    @abstractmethod
    def perturb(self, n: int, noise: Noise) -> Tensor:
        """Logits plus noise: z `(n, *batch, *event)`."""

    @abstractmethod
    def hard(self, z: Tensor) -> Tensor:
        """Outcomes decided by z, without gradient; z from `perturb` gives exact samples."""

    @abstractmethod
    def soft(self, z: Tensor, tau: float | Tensor) -> Tensor:
        """The tempered argmax of z: relaxed points, `hard(z)` as tau -> 0."""

    def sample(self, n: int, noise: Noise) -> Tensor:
        """Exact samples `(n, *batch, *event)`, without gradient."""
        return self.hard(self.perturb(n, noise))

    def relax(self, n: int, tau: float | Tensor, noise: Noise, *, hard: bool) -> Tensor:
        """Relaxed samples `(n, *batch, *event)`; if hard, hard ones with the relaxed gradient."""
        z = self.perturb(n, noise)
        soft = self.soft(z, tau)
        return straight_through(self.hard(z), soft) if hard else soft

    @abstractmethod
    def condition(self, points: Tensor, noise: Noise) -> Tensor:
        """Perturbed logits given their outcome: points `(P, *batch, *event)` -> z, same shape.

        `hard(z)` is `points`; over points from q, z is distributed as `perturb`'s. Differentiable
        in the logits at fixed noise.
        """

    @abstractmethod
    def log_prob(self, points: Tensor) -> Tensor:
        """Log-probability of hard points: `(P, *batch, *event)` -> `(P, *batch)`."""

    @abstractmethod
    def support(self) -> Tensor:
        """All outcomes, the same in every batch row: `(S, *event)`."""


@singledispatch
def family(q: Distribution) -> Family:
    """The family of q; register a new one as `torch.distributions.kl.register_kl` does."""
    raise TypeError(
        "q: expected a discrete distribution with perturbable logits (OneHotCategorical, "
        f"Bernoulli, or Independent over one), got {describe(q)}; 'pathwise', 'score' and 'rloo' "
        "serve other distributions"
    )


def has_family(q: Distribution) -> bool:
    """Whether a family is registered for q's own type."""
    return family.dispatch(type(q)) is not family.dispatch(object)


def describe(q: Distribution) -> str:
    """The name of q's type, with what it wraps."""
    base = getattr(q, "base_dist", None)
    return type(q).__name__ + (f"({describe(base)})" if isinstance(base, Distribution) else "")


def check_support(size: int) -> None:
    """Refuse to enumerate what does not fit in memory."""
    if size > LARGEST_SUPPORT:
        raise ValueError(
            f"q: expected a support of at most {LARGEST_SUPPORT:,} outcomes to enumerate, got "
            f"{size:,}; use a sampling estimator such as 'rloo'"
        )
