"""Mixtures whose samples carry the gradient to weights and components."""

from functools import singledispatch
from math import log, pi
from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    Normal,
    constraints,
)
from torch.distributions import MixtureSameFamily as _Mixture
from torch.nn.functional import pad
from torch.types import _size

from reparam.checks import inspectable
from reparam.distributions.implicit import (
    chain_root,
    invert,
    invert_chain,
    parameter,
    root,
    unvalidated,
)
from reparam.distributions.normal_mixture import move_with_normals
from reparam.distributions.reparameterized import Reparameterized
from reparam.noise import Noise


class MixtureSameFamily(Reparameterized, _Mixture):
    """torch's mixture, with an `rsample`: the gradient reaches the weights as well.

    Figurnov et al. 2018, "Implicit Reparameterization Gradients", section 3, arXiv:1805.08498: a
    sample is the root of the mixture's CDF; of vectors, of the chain of its conditional CDFs.

    mixture_distribution: Categorical of shape `(*batch, K)`.
    component_distribution: of batch shape `(*batch, K)`: univariate with a differentiable `cdf`,
        `Independent` over such, or multivariate normal of full or low rank. Others sample, but
        their `rsample` is refused.

    >>> from torch.distributions import Categorical, Normal
    >>> logits = torch.zeros(2, requires_grad=True)
    >>> q = MixtureSameFamily(Categorical(logits=logits), Normal(torch.tensor([-1.0, 1.0]), 0.5))
    >>> bool((torch.autograd.grad(q.rsample((8,)).sum(), logits)[0] != 0).all())
    True
    """

    def __init__(
        self,
        mixture_distribution: Categorical,
        component_distribution: Distribution,
        validate_args: bool | None = None,
    ) -> None:
        # A value that some component supports is outside of others.
        _Mixture.__init__(
            self, mixture_distribution, unvalidated(component_distribution), validate_args
        )

    def expand(self, batch_shape: _size, _instance: Any = None) -> "MixtureSameFamily":
        batch = torch.Size(batch_shape)
        components = self._component_distribution.expand((*batch, self._num_component))
        weights = self._mixture_distribution.expand(batch)  # type: ignore[no-untyped-call]
        return MixtureSameFamily(weights, components, validate_args=self._validate_args)

    @constraints.dependent_property
    def support(self) -> Any:
        return _Union(self._component_distribution.support)

    def _draw(self, n: int, noise: Noise) -> Tensor:
        if noise.uniforms is not None:
            return self._quantile(noise.uniform(n, self._like(self._event_shape)))
        levels = torch.softmax(self._logits, -1).cumsum(-1)[..., :-1].movedim(-1, 0)
        chosen = (noise.uniform(n, self._like()) > levels.unsqueeze(1)).sum(0)
        each = draw_each(self._component_distribution, n, noise, self._like(self._event_shape))
        index = chosen.view(*chosen.shape, *[1] * (1 + len(self._event_shape)))
        dim = chosen.ndim
        return each.take_along_dim(index, dim).squeeze(dim).double()

    def _attach(self, values: Tensor) -> Tensor:
        components = self._component_distribution
        if isinstance(components, Normal):
            weights = torch.softmax(self._logits, -1)
            return self._finish(move_with_normals(values, weights, components))
        if not self._event_shape:
            return self._finish(root(values, self._cdf, self._density(values)))
        flat = chain_root(values.flatten(-len(self._event_shape)), self._conditionals)
        return self._finish(flat.view_as(values))

    def _finish(self, values: Tensor) -> Tensor:
        return values.to(parameter(self._component_distribution).dtype)

    @property
    def _logits(self) -> Tensor:
        logits: Tensor = self._mixture_distribution.logits
        return logits.double()

    def _like(self, event: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        return self._logits.new_zeros(()).expand(self._batch_shape + event)

    def _quantile(self, u: Tensor) -> Tensor:
        support = _hull(self._component_distribution.support, len(self._event_shape))
        if not self._event_shape:
            return invert(self._cdf, u, support)
        flat = u.flatten(-len(self._event_shape))
        return invert_chain(self._conditionals, flat, support).view_as(u)

    def _cdf(self, x: Tensor) -> Tensor:
        each = self._component_distribution.cdf(x.unsqueeze(-1))
        return (torch.softmax(self._logits, -1) * each).sum(-1)

    def _density(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            log_p = self._component_distribution.log_prob(x.unsqueeze(-1))
            return (torch.softmax(self._logits, -1) * log_p.exp()).sum(-1)

    def _conditionals(self, x: Tensor) -> Tensor:
        """F_i(x_i | x_1 .. x_{i-1}) of flat vectors: `(n, *batch, d)`, the same shape.

        The mixture of the components' own, each weighed by its density of what came before.
        """
        cdf, log_p = conditionals(self._component_distribution, x.unsqueeze(-2))
        before = pad(log_p[..., :-1].cumsum(-1), (1, 0))
        weights = torch.softmax(self._logits.unsqueeze(-1) + before, -2)
        return (weights * cdf).sum(-2)


class _Union(constraints.Constraint):
    """What one of K components supports; torch's own asks for all of them."""

    def __init__(self, each: Any) -> None:
        self.each = each
        super().__init__()

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        dims: int = self.each.event_dim
        return dims

    def check(self, value: Tensor) -> Tensor:
        inside: Tensor = self.each.check(value.unsqueeze(-1 - self.event_dim))
        return inside.any(-1)


def _hull(support: Any, event_dims: int) -> Any:
    """The support of a mixture of K components on intervals `(*batch, K, *event)`; event flat."""
    each = getattr(support, "base_constraint", support)
    if not isinstance(getattr(each, "lower_bound", None), Tensor):
        return support
    low, high = each.lower_bound.amin(-1 - event_dims), each.upper_bound.amax(-1 - event_dims)
    if not event_dims:
        return constraints.interval(low, high)  # type: ignore[no-untyped-call]
    flat = constraints.interval(low.flatten(-event_dims), high.flatten(-event_dims))  # type: ignore[no-untyped-call]
    return constraints.independent(flat, 1)  # type: ignore[no-untyped-call]


@singledispatch
def conditionals(component: Distribution, x: Tensor) -> tuple[Tensor, Tensor]:
    """Each component's conditional CDFs and log-densities at `(n, *batch, 1, d)`, K in place of 1.

    Register vector-valued components here, as `register_kl` does.
    """
    raise TypeError(
        "component_distribution: expected univariate components, Independent over them, or "
        f"multivariate normals, got {type(component).__name__} of event shape "
        f"{tuple(component.event_shape)}; 'score' and 'rloo' serve every mixture"
    )


@conditionals.register(Independent)
def _(component: "Independent[Distribution]", x: Tensor) -> tuple[Tensor, Tensor]:
    base, event = component.base_dist, component.event_shape
    if base.event_shape:
        return conditionals.dispatch(Distribution)(component, x)
    x = x.reshape(*x.shape[:-1], *event)
    return base.cdf(x).flatten(-len(event)), base.log_prob(x).flatten(-len(event))


@conditionals.register(MultivariateNormal)
@conditionals.register(LowRankMultivariateNormal)
def _(
    component: MultivariateNormal | LowRankMultivariateNormal, x: Tensor
) -> tuple[Tensor, Tensor]:
    tril = component.scale_tril.double()
    # The samples as columns: one factor serves them all.
    residuals = (x - component.loc.double()).movedim(0, -1)
    y = torch.linalg.solve_triangular(tril, residuals, upper=False).movedim(-1, 0)
    log_scale = tril.diagonal(dim1=-2, dim2=-1).log()
    return torch.special.ndtr(y), -y * y / 2 - log_scale - log(2 * pi) / 2


@singledispatch
def draw_each(
    component: Distribution, n: int, noise: Noise, like: Tensor, axis: int = -1
) -> Tensor:
    """A value of each component from the same noise.

    like: `(*batch, *event)` -> `(n, *batch, K, *event)`, K at the axis.
    """
    if noise.generator is None and noise.key is None and inspectable():
        return component.sample(torch.Size([n]))
    if component.event_shape:
        raise TypeError(
            "noise: expected mixture components with a map from noise, got "
            f"{type(component).__name__}; sample without a generator or a key"
        )
    u = noise.uniform(n, like).unsqueeze(axis).expand(n, *component.batch_shape)
    return invert(component.cdf, u, component.support)


@draw_each.register
def _(component: Normal, n: int, noise: Noise, like: Tensor, axis: int = -1) -> Tensor:
    eps = noise.normal(n, like.to(component.loc.dtype))
    return component.loc + component.scale * eps.unsqueeze(axis)


@draw_each.register(Independent)
def _(
    component: "Independent[Distribution]", n: int, noise: Noise, like: Tensor, axis: int = -1
) -> Tensor:
    axis -= component.reinterpreted_batch_ndims
    return draw_each(component.base_dist, n, noise, like, axis)


@draw_each.register(MultivariateNormal)
@draw_each.register(LowRankMultivariateNormal)
def _(
    component: MultivariateNormal | LowRankMultivariateNormal,
    n: int,
    noise: Noise,
    like: Tensor,
    axis: int = -1,
) -> Tensor:
    eps = noise.normal(n, like).unsqueeze(axis - 1).unsqueeze(-1)
    return component.loc + (component.scale_tril.double() @ eps).squeeze(-1)
