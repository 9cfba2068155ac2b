"""The primitives that every discrete distribution provides, and their dispatch."""

from abc import ABC, abstractmethod
from functools import singledispatch

from torch import Tensor
from torch.distributions import Distribution

from reparam.functional import straight_through
from reparam.noise import Noise


class Family(ABC):
    """A discrete distribution as perturbed logits: add noise, take the argmax, hard or soft.

    logits: `(*batch, *own)`, own the event shape unless the distribution says another. Perturbed
    logits z carry the gradient to the logits, in float32 or float64; points are cast to the
    logits' dtype.

    A score function may see more of z than its outcome, where the law of that is simpler: z's
    trace (Struminsky et al. 2021, "Leveraging Recursive Gumbel-Max Trick for Approximate Inference
    in Combinatorial Spaces", arXiv:2110.15072), by default the outcome itself.

    tractable: whether `log_prob` has a formula.
    """

    logits: Tensor
    tractable: bool = True

    @abstractmethod
    def perturb(self, n: int, noise: Noise) -> Tensor:
        """Logits plus noise: z `(n, *batch, *own)`."""

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

    def trace(self, z: Tensor) -> Tensor:
        """What of z decides the outcome, without gradient: `(n, *batch, ...)`."""
        return self.hard(z)

    def outcome(self, trace: Tensor) -> Tensor:
        """The points of traces: `outcome(trace(z))` is `hard(z)`."""
        return trace

    def trace_log_prob(self, trace: Tensor) -> Tensor:
        """Log-probability, or log-density, of traces: `(P, *batch, ...)` -> `(P, *batch)`."""
        return self.log_prob(trace)

    @abstractmethod
    def condition(self, trace: Tensor, noise: Noise) -> Tensor:
        """Perturbed logits given their trace: `(P, *batch, ...)` -> z `(P, *batch, *own)`.

        `trace(z)` is the one given; over traces from q, z is distributed as `perturb`'s.
        Differentiable in the logits at fixed noise.
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
        "Bernoulli, Subset, PlackettLuce, Permutation, or Independent over one), got "
        f"{describe(q)}; 'pathwise', 'score' and 'rloo' serve other distributions"
    )


def has_family(q: Distribution) -> bool:
    """Whether a family is registered for q's own type."""
    return family.dispatch(type(q)) is not family.dispatch(object)


def describe(q: Distribution) -> str:
    """The name of q's type, with what it wraps."""
    base = getattr(q, "base_dist", None)
    return type(q).__name__ + (f"({describe(base)})" if isinstance(base, Distribution) else "")
