"""The classic table: standard noise in, differentiable points out.

Devroye 1986, "Non-Uniform Random Variate Generation", chapter 2, tabulates these one-liners. The
univariate ones increase in the noise, so that given uniforms u come out as the u-quantiles of q.
"""

from collections.abc import Callable
from functools import singledispatch

import torch
from torch import Tensor
from torch.distributions import (
    Cauchy,
    Distribution,
    Exponential,
    Gumbel,
    HalfCauchy,
    HalfNormal,
    Independent,
    Kumaraswamy,
    Laplace,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
    Uniform,
)

from reparam.checks import no_autocast
from reparam.distributions import (
    Beta,
    Dirichlet,
    Gamma,
    GeneralizedGamma,
    LogDirichlet,
    Logistic,
    StudentT,
)
from reparam.distributions.relaxed import Relaxed
from reparam.distributions.reparameterized import Reparameterized
from reparam.families.base import describe, has_family
from reparam.noise import Noise


@singledispatch
def reparameterize(q: Distribution, n: int, noise: Noise) -> Tensor:
    """Points `(n, *batch, *event)` that carry the gradient to q's parameters.

    Types without an entry of their own fall back to torch's `rsample`, which given uniforms
    cannot drive.
    """
    # torch's own straight-through one-hot has an rsample, whose gradient is biased.
    if has_family(q) or not q.has_rsample:
        raise TypeError(
            f"q: expected a distribution whose samples can be differentiated, got {describe(q)}; "
            "use 'score' or 'rloo', or for discrete q a relaxation such as 'gumbel-softmax'"
        )
    if noise.uniforms is not None:
        raise TypeError(
            f"noise: expected a distribution with a map from uniforms, got {describe(q)}, which is "
            "sampled by torch's own rsample; pass generator= instead"
        )
    return with_generator(noise.generator, lambda: q.rsample(torch.Size([n])))


def with_generator(generator: torch.Generator | None, draw: Callable[[], Tensor]) -> Tensor:
    """Run a sampler that knows only the global generators as if it used this one.

    The global generators are seeded from `generator` and put back afterwards.
    """
    if generator is None:
        return draw()
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    with torch.random.fork_rng():
        torch.manual_seed(int(seed))
        return draw()


@reparameterize.register
def _(q: Normal, n: int, noise: Noise) -> Tensor:
    return q.loc + q.scale * noise.normal(n, q.loc).to(q.loc.dtype)


@reparameterize.register
def _(q: Laplace, n: int, noise: Noise) -> Tensor:
    return q.loc + q.scale * noise.laplace(n, q.loc).to(q.loc.dtype)


@reparameterize.register
def _(q: Logistic, n: int, noise: Noise) -> Tensor:
    return q.loc + q.scale * noise.logistic(n, q.loc).to(q.loc.dtype)


@reparameterize.register
def _(
    q: Relaxed
    | Reparameterized
    | Gamma
    | GeneralizedGamma
    | Beta
    | Dirichlet
    | LogDirichlet
    | StudentT,
    n: int,
    noise: Noise,
) -> Tensor:
    return q.rsample(torch.Size([n]), noise)


@reparameterize.register
def _(q: Gumbel, n: int, noise: Noise) -> Tensor:
    return q.loc + q.scale * noise.gumbel(n, q.loc).to(q.loc.dtype)


@reparameterize.register
def _(q: Cauchy, n: int, noise: Noise) -> Tensor:
    return q.loc + q.scale * noise.cauchy(n, q.loc).to(q.loc.dtype)


@reparameterize.register
def _(q: Uniform, n: int, noise: Noise) -> Tensor:
    return q.low + (q.high - q.low) * noise.uniform(n, q.low).to(q.low.dtype)


@reparameterize.register
def _(q: HalfNormal, n: int, noise: Noise) -> Tensor:
    return q.scale * noise.half_normal(n, q.scale).to(q.scale.dtype)


@reparameterize.register
def _(q: HalfCauchy, n: int, noise: Noise) -> Tensor:
    return q.scale * noise.half_cauchy(n, q.scale).to(q.scale.dtype)


@reparameterize.register
def _(q: Exponential, n: int, noise: Noise) -> Tensor:
    return noise.exponential(n, q.rate).to(q.rate.dtype) / q.rate


@reparameterize.register
def _(q: Kumaraswamy, n: int, noise: Noise) -> Tensor:
    # F^-1(u) = (1 - (1 - u)^(1/b))^(1/a), with E = -log(1 - u) so that neither end cancels.
    a, b = q.concentration1, q.concentration0
    e = noise.exponential(n, a).to(a.dtype)
    return (-torch.expm1(-e / b)) ** (1 / a)


@reparameterize.register
def _(q: MultivariateNormal, n: int, noise: Noise) -> Tensor:
    eps = noise.normal(n, q.loc).to(q.loc.dtype)
    with no_autocast(q.loc):
        offset = q._unbroadcasted_scale_tril @ eps.unsqueeze(-1)  # noqa: SLF001 (unexpanded)
        return q.loc + offset.squeeze(-1)


@reparameterize.register
def _(q: LowRankMultivariateNormal, n: int, noise: Noise) -> Tensor:
    # Its own rsample takes two sets of noise; the Cholesky factor takes one, of q's shape.
    eps = noise.normal(n, q.loc).to(q.loc.dtype)
    with no_autocast(q.loc):
        points: Tensor = q.loc + (q.scale_tril @ eps.unsqueeze(-1)).squeeze(-1)
        return points


@reparameterize.register(Independent)
def _(q: "Independent[Distribution]", n: int, noise: Noise) -> Tensor:
    return reparameterize(q.base_dist, n, noise)


@reparameterize.register
def _(q: TransformedDistribution, n: int, noise: Noise) -> Tensor:
    """LogNormal, Weibull, Pareto, LogisticNormal and whatever else is a chain of transforms."""
    points = reparameterize(q.base_dist, n, noise)
    for transform in q.transforms:
        points = torch.as_tensor(transform(points))
    return points
