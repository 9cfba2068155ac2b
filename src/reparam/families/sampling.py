"""Points without a gradient, for any distribution: what score-function estimators need."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.checks import check_support
from reparam.families.base import describe, family, has_family
from reparam.families.continuous import reparameterize, with_generator
from reparam.families.counts import counts_from_uniforms, is_count
from reparam.families.independent import unwrapped
from reparam.noise import Noise


def is_discrete(q: Distribution) -> bool:
    """Whether q has a `family`, by itself or under `Independent`."""
    return has_family(unwrapped(q))


def sample(q: Distribution, n: int, noise: Noise) -> Tensor:
    """Detached points `(n, *batch, *event)`."""
    with torch.no_grad():
        if is_discrete(q):
            return family(q).sample(n, noise)
        if q.has_rsample:
            # Forward-mode differentiation passes no_grad, but not detach.
            return reparameterize(q, n, noise).detach()
        if noise.uniforms is not None and is_count(base := unwrapped(q)):
            return counts_from_uniforms(base, n, noise)
        if noise.uniforms is not None:
            raise TypeError(
                f"noise: expected a distribution with a map from uniforms, got {describe(q)}, "
                "which is sampled by torch's own sample; pass generator= instead"
            )
        return with_generator(noise.generator, lambda: q.sample(torch.Size([n])))


def log_prob(q: Distribution, points: Tensor) -> Tensor:
    """Log-probability or log-density: `(P, *batch, *event)` -> `(P, *batch)`."""
    return family(q).log_prob(points) if is_discrete(q) else q.log_prob(points)


def scored_sample(q: Distribution, n: int, noise: Noise) -> tuple[Tensor, Callable[[], Tensor]]:
    """Detached points `(n, *batch, *event)`, and what computes their log-probability `(n, *batch)`.

    Where q's own is not tractable, that is the trace's.
    """
    if not is_discrete(q) or (f := family(q)).tractable:
        points = sample(q, n, noise)
        return points, lambda: log_prob(q, points)
    with torch.no_grad():
        trace = f.trace(f.perturb(n, noise))
        return f.outcome(trace), lambda: f.trace_log_prob(trace)


def event_sum(values: Tensor, q: Distribution) -> Tensor:
    """Sum over q's event dimensions, which are the last ones of `values`."""
    dims = len(q.event_shape)
    return values.sum(tuple(range(-dims, 0))) if dims else values


def support(q: Distribution) -> Tensor:
    """All outcomes of a discrete q, which can be weighted: `(S, *batch, *event)`."""
    if is_discrete(q):
        f = family(q)
        if not f.tractable:
            raise TypeError(
                f"q: expected a distribution with tractable log-probabilities, got {describe(q)}; "
                "use 'score', 'rloo', 'rebar' or 'relax'"
            )
        outcomes = f.support()
        ones = [1] * len(q.batch_shape)
        outcomes = outcomes.reshape(len(outcomes), *ones, *q.event_shape)
        return outcomes.expand(-1, *q.batch_shape, *q.event_shape)
    if not q.has_enumerate_support:
        raise TypeError(
            f"q: expected a distribution with finite support, got {describe(q)}; "
            "use 'score', 'rloo' or 'pathwise'"
        )
    outcomes = q.enumerate_support(expand=True)
    check_support(len(outcomes))
    return outcomes


def pick(outcomes: Tensor, index: Tensor) -> Tensor:
    """Outcomes `(S, *batch, *event)` by number, for each batch row: index `(P, *batch)`."""
    event = outcomes.shape[index.ndim :]
    index = index.reshape(*index.shape, *[1] * len(event)).expand(*index.shape, *event)
    return outcomes.gather(0, index)
