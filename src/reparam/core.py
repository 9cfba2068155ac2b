"""The theory in one file.

A draw is two things: the points where the cost is evaluated, and the way its values become a loss.
An estimator makes draws; everything else in this library is a kind of estimator, or measures one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from reparam.checks import check_costs, check_count
from reparam.noise import Key, Noise


class Draw(NamedTuple):
    """Where to evaluate the cost, and how its values become a loss.

    points: `(P, *batch, *event)`. P may exceed the n asked for: pairs, relaxed copies, a support.
    combine: costs `(P, *batch)` -> `(*batch)`. Its value estimates E_q[cost]; its gradient is the
        estimator's, for q's parameters and for the cost's own. The result is an ordinary tensor,
        so draws nest: an inner `combine` sits inside an outer cost.
    """

    points: Tensor
    combine: Callable[[Tensor], Tensor]


class Estimator(ABC):
    """One published way to differentiate E_q[f], as a frozen dataclass of its hyper-parameters.

    The claims are tested in both directions:
    unbiased: the expected gradient is the gradient of E_q[f], for every f.
    exact: moreover it has no variance.
    pathwise: the gradient reaches q through the points.
    black_box: f need not be differentiable.

    multisample: `combine` estimates E log (1/n) sum exp f, the multi-sample bound, not E_q[f].
    differentiates: `combine` itself takes derivatives, which `torch.func` transforms and
        `torch.compile(fullgraph=True)` cannot trace.
    anneals: fields that training lowers by default, because their bias falls with them.
    """

    unbiased: ClassVar[bool]
    exact: ClassVar[bool]
    pathwise: ClassVar[bool]
    black_box: ClassVar[bool]
    multisample: ClassVar[bool] = False
    differentiates: ClassVar[bool] = False
    anneals: ClassVar[tuple[str, ...]] = ()

    def draw(
        self,
        q: Distribution,
        n: int = 1,
        *,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
        key: Key | None = None,
    ) -> Draw:
        """Draw n samples per batch row of q.

        generator: where the randomness comes from; the global generator is then left alone.
        noise: uniforms in (0, 1), shape `(n, *batch, *event)` unless the estimator says another,
            instead of any generator; they go through the inverse distribution function of the
            base noise (of an index Categorical, that of its K classes). For common random
            numbers, quasi-Monte-Carlo and exact tests. float64 keeps the tails.
        key: an integer, or int64 keys `(*batch)`, instead of any generator. A row's points then
            depend on its own key alone: not on its batch, how that is split, or the process.
        """
        check_count("n", n)
        if not isinstance(q, Distribution):
            raise TypeError(
                f"q: expected a torch.distributions.Distribution, got {type(q).__name__}; "
                "wrap logits as OneHotCategorical(logits=...) or Bernoulli(logits=...)"
            )
        points, combine = self._draw(q, n, Noise(generator, noise, key))
        expected = points.shape[: points.ndim - len(q.event_shape)]
        return Draw(points, lambda costs: combine(check_costs(costs, expected)))

    @abstractmethod
    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        """`draw` with its arguments checked; this is what an estimator defines."""

    def modules(self) -> dict[str, nn.Module]:
        """The learnable parts (baselines, control variates): fields that are modules, by name."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {name: v for name, v in values.items() if isinstance(v, nn.Module)}

    def parameters(self) -> Iterator[nn.Parameter]:
        """What an optimizer trains together with the model."""
        for module in self.modules().values():
            yield from module.parameters()


def expect(
    f: Callable[[Tensor], Tensor], q: Distribution, estimator: Estimator, n: int = 1, **source: Any
) -> Tensor:
    """Estimate E_q[f], shape `(*batch)`, with the estimator's gradient.

    f: points `(P, *batch, *event)` -> costs `(P, *batch)`.
    source: `generator=`, `noise=` or `key=`.

    >>> from torch.distributions import Bernoulli
    >>> import reparam as rp
    >>> logit = torch.zeros((), requires_grad=True)
    >>> value = rp.expect(lambda b: (b - 0.45) ** 2, Bernoulli(logits=logit), rp.Enumerate())
    >>> round(value.item(), 4), round(torch.autograd.grad(value, logit)[0].item(), 4)
    (0.2525, 0.025)
    """
    points, combine = estimator.draw(q, n, **source)
    return combine(f(points))


def sample(q: Distribution, estimator: Estimator, **source: Any) -> Tensor:
    """One differentiable sample `(*batch, *event)`, of the estimators that have one.

    source: `generator=`, `noise=` or `key=`.
    """
    if not estimator.pathwise:
        raise TypeError(
            f"sample: expected a pathwise estimator, got {type(estimator).__name__}, whose "
            "gradient does not pass through the points; use its draw(q, n) and combine the costs"
        )
    return estimator.draw(q, 1, **source).points[0]


def surrogate(costs: Tensor, log_prob: Tensor, baseline: Tensor | float = 0.0) -> Tensor:
    """The costs, with the score-function gradient attached; all `(P, *batch)`.

    exp(log p - sg log p) is 1, and its derivatives of every order are those of p over p, so second
    derivatives are right too (DiCE: Foerster et al. 2018, arXiv:1802.05098).
    """
    log_prob = torch.where(log_prob.isfinite(), log_prob, 0)  # an impossible point moves nothing
    ratio = torch.expm1(log_prob - log_prob.detach()).to(costs.dtype)
    return costs + (costs - baseline) * ratio


def surrogate_gradient(value: Tensor, carrier: Tensor) -> Tensor:
    """`value`, with the gradient of `carrier` added to its own; the same shape for both."""
    return value + (carrier - carrier.detach()).to(value.dtype)


def average(costs: Tensor) -> Tensor:
    """Mean over the points: the way of every estimator whose gradient lies in the points."""
    return costs.mean(0)
