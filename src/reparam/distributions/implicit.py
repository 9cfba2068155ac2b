"""Implicit reparameterization: the gradient of a sample, from the CDF that it is drawn from."""

from collections.abc import Callable
from copy import copy
from math import asinh
from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    TransformedDistribution,
    biject_to,
    constraints,
)
from torch.types import _size

from reparam.checks import inspectable
from reparam.distributions.reparameterized import Reparameterized
from reparam.noise import Noise

Cdf = Callable[[Tensor], Tensor]

_HALVINGS = 64


class Implicit(Reparameterized):
    """A distribution whose samples carry the gradient -(dF / d theta) / p, of CDF F and density p.

    Figurnov et al. 2018, "Implicit Reparameterization Gradients", equation 6, arXiv:1805.08498. The
    second derivatives are exact too.

    base: what to sample from; its own `cdf` is used unless `cdf` is given.
    cdf: values `(n, *batch)` -> F, by operations that torch differentiates, in the parameters as in
        the values. For an event of shape (d,), the chain of conditional CDFs: values `(n, *batch,
        d)` -> F_i(x_i | x_1 .. x_{i-1}) for every i (their section 3).
    support: where the values are, of a univariate `cdf` without a base. Its samples come from
        inverting it, and its batch shape is that of its values at one number.

    Given uniforms come out as u-quantiles; a chain takes one for each component.

    >>> rate = torch.tensor(2.0, requires_grad=True)
    >>> q = Implicit(cdf=lambda x: -torch.expm1(-rate * x), support=constraints.positive)
    >>> x = q.rsample()
    >>> torch.autograd.grad(x, rate)[0].item() == -x.item() / 2
    True
    """

    arg_constraints = {}  # noqa: RUF012

    def __init__(
        self,
        base: Distribution | None = None,
        *,
        cdf: Cdf | None = None,
        support: constraints.Constraint = constraints.real,
        validate_args: bool | None = None,
    ) -> None:
        _check(base, cdf, support)
        self.base = None if base is None else unvalidated(base)
        self._given = cdf
        if base is None:
            self._support: Any = support
            shape, event = self._probe(support).shape, torch.Size()
        else:
            self._support = base.support
            shape, event = base.batch_shape, base.event_shape
        super().__init__(shape, event, validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> "Implicit":
        new: Implicit = self._get_checked_instance(Implicit, _instance)  # type: ignore[no-untyped-call]
        new.base = None if self.base is None else self.base.expand(batch_shape)
        new._given, new._support = self._given, self._support
        Distribution.__init__(new, torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def support(self) -> Any:
        return self._support

    @property
    def mean(self) -> Tensor:
        return self._known("mean").mean

    @property
    def variance(self) -> Tensor:
        return self._known("variance").variance

    def entropy(self) -> Tensor:
        return self._known("entropy").entropy()

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        if self.base is not None:
            return self.base.log_prob(value)
        return density(self._cdf, self._level(value)).log().to(value.dtype)

    def cdf(self, value: Tensor) -> Tensor:
        """F at the values; of an event of shape (d,), the conditional ones."""
        return self._cdf(value)

    def icdf(self, value: Tensor) -> Tensor:
        """The value at a level of F, by bisection; differentiable in level and parameters."""
        level = self._level(value)
        return self._finish(self._rooted(self._invert(level.detach()), level))

    def _draw(self, n: int, noise: Noise) -> Tensor:
        given = (noise.generator, noise.key, noise.uniforms) != (None, None, None)
        if self.base is not None and not given and inspectable():
            return self.base.sample(torch.Size([n])).double()
        like = self._parameter().double().new_zeros(()).expand(self.batch_shape + self.event_shape)
        return self._invert(noise.uniform(n, like))

    def _attach(self, values: Tensor) -> Tensor:
        return self._finish(self._rooted(values, None))

    def _finish(self, values: Tensor) -> Tensor:
        return values.to(self._parameter().dtype)

    def _invert(self, level: Tensor) -> Tensor:
        if self.event_shape:
            return invert_chain(self._cdf, level, self._support)
        return invert(self._cdf, level, self._support)

    def _rooted(self, values: Tensor, level: Tensor | None) -> Tensor:
        if self.event_shape:
            return chain_root(values, self._cdf, level)
        return root(values, self._cdf, level=level)

    def _cdf(self, value: Tensor) -> Tensor:
        if self._given is not None:
            return self._given(value)
        return self.base.cdf(value)  # type: ignore[union-attr]

    def _probe(self, support: Any) -> Tensor:
        """F somewhere in the support: its shape, dtype and device are those of the parameters."""
        inside = torch.as_tensor(biject_to(support)(torch.zeros(())))
        return self._given(inside)  # type: ignore[misc]

    def _parameter(self) -> Tensor:
        """A tensor with the dtype and device of the parameters."""
        if self.base is None:
            return self._probe(self._support)
        return parameter(self.base)

    def _known(self, name: str) -> Distribution:
        if self.base is None:
            raise NotImplementedError(
                f"{name}: expected a base distribution that knows it, got a bare cdf; average "
                "over samples, or pass base="
            )
        return self.base


def parameter(q: Distribution) -> Tensor:
    """One of q's parameters, for its dtype and device."""
    while isinstance(q, Independent | TransformedDistribution):
        q = q.base_dist
    return next(
        value for name in q.arg_constraints if isinstance(value := getattr(q, name), Tensor)
    )


def unvalidated(q: Distribution) -> Distribution:
    """The same distribution, which computes whatever it is given: bisection tries the far out."""
    q = copy(q)
    q._validate_args = False  # noqa: SLF001
    if isinstance(q, Independent | TransformedDistribution):
        q.base_dist = unvalidated(q.base_dist)
    return q


def root(x: Tensor, cdf: Cdf, p: Tensor | None = None, level: Tensor | None = None) -> Tensor:
    """Values x as roots of cdf(x) = level: exact first and second derivatives.

    Two steps of Newton's method with a fixed density, from the root to itself: each adds an order.

    p: the density, if known. level: cdf(x) detached, if None.
    """
    x = x.detach()
    p = (density(cdf, x) if p is None else p).detach()
    p = p.masked_fill(p == 0, torch.inf)  # underflown: too far out to move
    value = cdf(x)
    level = value.detach() if level is None else level
    moved = x - (value - level) / p
    return moved - (cdf(moved) - level) / p


def chain_root(x: Tensor, cdfs: Cdf, level: Tensor | None = None) -> Tensor:
    """The same for the conditional CDFs of `(..., d)` values: -(dF / dx)^-1 dF / d theta."""
    x = x.detach()
    basis = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    rows = basis.view(-1, *[1] * (x.ndim - 1), x.shape[-1]).expand(-1, *x.shape)
    pullback = torch.func.vjp(cdfs, x)[1]
    jacobian = torch.func.vmap(pullback)(rows)[0].movedim(0, -2).detach()

    def step(excess: Tensor) -> Tensor:
        solved: Tensor = torch.linalg.solve_triangular(jacobian, excess.unsqueeze(-1), upper=False)
        return solved.squeeze(-1)

    value = cdfs(x)
    level = value.detach() if level is None else level
    moved = x - step(value - level)
    return moved - step(cdfs(moved) - level)


def density(cdf: Cdf, x: Tensor) -> Tensor:
    """The derivative of a CDF, elementwise."""
    slope: Tensor = torch.func.grad(lambda value: cdf(value).sum())(x)
    return slope


@torch.no_grad()
def invert(cdf: Cdf, level: Tensor, support: Any) -> Tensor:
    """Where a CDF reaches its level, by bisection over all float64 numbers of the support."""
    transform = biject_to(support)
    # Of a bounded end, what is below e^-700 is 0; the real line ends at 1e100.
    low = torch.full_like(level, -asinh(1e100 if support is constraints.real else 700))
    high = -low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = cdf(torch.as_tensor(transform(middle.sinh()))) < level
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return torch.as_tensor(transform(high.sinh()))


@torch.no_grad()
def invert_chain(cdfs: Cdf, level: Tensor, support: Any) -> Tensor:
    """The same for conditional CDFs of `(..., d)` values, one component after the other."""
    each = getattr(support, "base_constraint", constraints.real)
    x = torch.as_tensor(biject_to(each)(torch.zeros_like(level)))
    for i in range(level.shape[-1]):
        here = torch.arange(level.shape[-1], device=level.device) == i

        def conditional(value: Tensor, i: int = i, here: Tensor = here, x: Tensor = x) -> Tensor:
            return cdfs(torch.where(here, value.unsqueeze(-1), x))[..., i]

        x = torch.where(here, invert(conditional, level[..., i], _along(each, i)).unsqueeze(-1), x)
    return x


def _along(support: Any, i: int) -> Any:
    """The support of component i, of one with bounds `(*batch, d)` or the same for all."""
    if not isinstance(getattr(support, "lower_bound", None), Tensor):
        return support
    low, high = support.lower_bound[..., i], support.upper_bound[..., i]
    return constraints.interval(low, high)  # type: ignore[no-untyped-call]


def _check(base: Distribution | None, cdf: Cdf | None, support: Any) -> None:
    if base is None and cdf is None:
        raise ValueError("expected a base distribution, a cdf, or both, got neither")
    if base is None:
        if support.event_dim:
            raise ValueError(
                f"support: expected that of a univariate cdf, got {support}; a chain of "
                "conditional CDFs needs a base to sample from"
            )
    elif cdf is None and (base.event_shape or type(base).cdf is Distribution.cdf):
        raise TypeError(
            f"base: expected a univariate distribution with a cdf, got {type(base).__name__} of "
            f"event shape {tuple(base.event_shape)}; pass cdf=, of a vector its conditional CDFs"
        )
    elif len(base.event_shape) > 1:
        raise TypeError(
            f"base: expected an event of shape () or (d,), got {tuple(base.event_shape)}"
        )
