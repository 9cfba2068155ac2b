"""The reference problems, by name; each call makes fresh leaves.

Numbers are fixed, not drawn, so that a figure quoted for a problem stays what it was.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Binomial,
    Distribution,
    Exponential,
    Independent,
    NegativeBinomial,
    Normal,
    OneHotCategorical,
    Poisson,
)
from torch.nn.functional import binary_cross_entropy_with_logits, linear

from reparam.distributions import Permutation, PlackettLuce, Subset
from reparam.problems.problem import (
    Problem,
    by_counting,
    by_enumeration,
    by_matching,
    by_quadrature,
    on_the_half_line,
    on_the_line,
)


def _leaf(*values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def _square(points: Tensor, target: Tensor) -> Tensor:
    return (points - target) ** 2


def bernoulli() -> Problem:
    """(b - t)^2, t = 0.45: the problem of Tucker et al. 2017; three rows."""
    return Problem(
        about="one Bernoulli, (b - 0.45)^2, three logits",
        params={"logits": _leaf(-1.5, 0.0, 0.7)},
        build=lambda p: Bernoulli(logits=p["logits"]),
        weight=_leaf(0.45)[0].detach().requires_grad_(),
        cost=_square,
        integrate=by_enumeration,
        discrete=True,
    )


def bits3() -> Problem:
    """Three bits under one cost, neither linear nor separable; two rows."""

    def cost(points: Tensor, weight: Tensor) -> Tensor:
        return torch.sin(points @ weight) + points.prod(-1)

    return Problem(
        about="Independent over three Bernoullis, sin(w.b) + b1 b2 b3",
        params={"logits": _leaf([0.3, -0.8, 1.1], [-2.0, 0.5, 0.0])},
        build=lambda p: Independent(Bernoulli(logits=p["logits"]), 1),
        weight=_leaf(1.3, -0.4, 0.9),
        cost=cost,
        integrate=by_enumeration,
        discrete=True,
    )


def categorical3() -> Problem:
    """Three classes under a cost that is neither linear nor quadratic; two rows."""
    return Problem(
        about="one categorical over 3 classes, exp(w.d)",
        params={"logits": _leaf([0.2, -0.5, 0.9], [1.5, 0.0, -1.0])},
        build=lambda p: OneHotCategorical(logits=p["logits"]),
        weight=_leaf(0.8, -1.2, 0.3),
        cost=lambda points, weight: (points @ weight).exp(),
        integrate=by_enumeration,
        discrete=True,
    )


def categorical8() -> Problem:
    """Eight classes from three bits that share one logit (Liu et al. 2019; Kool et al. 2020)."""
    bits = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)

    def build(p: dict[str, Tensor]) -> Distribution:
        on, off = (torch.nn.functional.logsigmoid(s * p["eta"]).unsqueeze(-1) for s in (1, -1))
        count = bits.sum(-1).to(p["eta"])
        return OneHotCategorical(logits=on * count + off * (3 - count))

    def cost(points: Tensor, weight: Tensor) -> Tensor:
        return ((points @ bits - weight) ** 2).sum(-1)

    return Problem(
        about="eight classes, three bits that share a logit, squared distance to (.6, .51, .48)",
        params={"eta": _leaf(0.0, -1.0)},
        build=build,
        weight=_leaf(0.6, 0.51, 0.48),
        cost=cost,
        integrate=by_enumeration,
        discrete=True,
    )


def gaussian() -> Problem:
    """A quadratic and a periodic cost (after Mohamed et al. 2020); two rows."""
    return Problem(
        about="one Normal, (x - k)^2 + sin(x)",
        params={"loc": _leaf(1.0, -0.5), "scale": _leaf(1.0, 0.4)},
        build=lambda p: Normal(p["loc"], p["scale"]),
        weight=_leaf(0.3)[0].detach().requires_grad_(),
        cost=lambda x, k: _square(x, k) + x.sin(),
        integrate=by_quadrature(on_the_line, step=0.1),
        discrete=False,
    )


def exponential() -> Problem:
    """A smooth bounded cost of a waiting time; two rows."""
    return Problem(
        about="one Exponential, sin(k x)",
        params={"rate": _leaf(0.7, 2.0)},
        build=lambda p: Exponential(p["rate"]),
        weight=_leaf(0.8)[0].detach().requires_grad_(),
        cost=lambda x, k: torch.sin(k * x),
        integrate=by_quadrature(on_the_half_line, step=0.02),
        discrete=False,
    )


def gaussian2() -> Problem:
    """Two Gaussian latents under one cost that does not separate; two rows."""
    return Problem(
        about="Independent over two Normals, cos(w.z) + z1 z2",
        params={
            "loc": _leaf([0.3, -0.6], [0.0, 1.0]),
            "scale": _leaf([0.5, 0.9], [1.1, 0.3]),
        },
        build=lambda p: Independent(Normal(p["loc"], p["scale"]), 1),
        weight=_leaf(0.7, -0.5),
        cost=lambda z, w: torch.cos(z @ w) + z.prod(-1),
        integrate=by_quadrature(on_the_line, step=0.25),
        discrete=False,
    )


def poisson() -> Problem:
    """A smooth bounded cost of a count; two rows."""
    return Problem(
        about="one Poisson, sin(k z)",
        params={"rate": _leaf(0.8, 3.0)},
        build=lambda p: Poisson(p["rate"]),
        weight=_leaf(0.6)[0].detach().requires_grad_(),
        cost=lambda z, k: torch.sin(k * z),
        integrate=by_counting(40),
        discrete=True,
    )


def binomial() -> Problem:
    """The same of four trials."""
    return Problem(
        about="one Binomial of 4 trials, sin(k z)",
        params={"logits": _leaf(-0.4, 1.2)},
        build=lambda p: Binomial(4, logits=p["logits"]),
        weight=_leaf(0.6)[0].detach().requires_grad_(),
        cost=lambda z, k: torch.sin(k * z),
        integrate=by_counting(4),
        discrete=True,
    )


def negative_binomial() -> Problem:
    """The same of an overdispersed count, with a gradient to both parameters."""
    return Problem(
        about="one negative binomial, sin(k z)",
        params={"total": _leaf(1.5, 3.0), "logits": _leaf(-0.5, -1.5)},
        build=lambda p: NegativeBinomial(p["total"], logits=p["logits"]),
        weight=_leaf(0.6)[0].detach().requires_grad_(),
        cost=lambda z, k: torch.sin(k * z),
        integrate=by_counting(120),
        discrete=True,
    )


def vae() -> Problem:
    """One step of a small categorical VAE: -log p(x | z) through a linear decoder; two images."""
    images = torch.tensor([[1.0, 0, 1, 1, 0], [0, 0, 1, 0, 1]], dtype=torch.float64)

    def cost(points: Tensor, weight: Tensor) -> Tensor:
        pixels = linear(points.flatten(-2), weight)
        target = images.expand_as(pixels)
        return binary_cross_entropy_with_logits(pixels, target, reduction="none").sum(-1)

    decoder = torch.linspace(-2, 2, 30, dtype=torch.float64).sin().reshape(5, 6) * 2
    return Problem(
        about="2 latents of 3 classes, linear decoder to 5 pixels, -log p(x|z)",
        params={"logits": _leaf([[0.1, 0.7, -0.4], [1.0, -1.0, 0.0]], [[0, 0, 1], [-0.5, 0.5, 2]])},
        build=lambda p: Independent(OneHotCategorical(logits=p["logits"]), 1),
        weight=decoder.requires_grad_(),
        cost=cost,
        integrate=by_enumeration,
        discrete=True,
    )


def subset() -> Problem:
    """Two of three items under a cost that is not a sum over them; two rows."""
    return Problem(
        about="Subset of 2 of 3 classes, exp(w.s) + s1 s2",
        params={"logits": _leaf([0.4, -0.6, 0.9], [1.2, 0.0, -0.8])},
        build=lambda p: Subset(2, p["logits"]),
        weight=_leaf(0.8, -1.2, 0.3),
        cost=lambda points, weight: (points @ weight).exp() + points[..., 0] * points[..., 1],
        integrate=by_enumeration,
        discrete=True,
    )


def ranking() -> Problem:
    """Three items in order, under a cost of the whole matrix; two rows."""
    return Problem(
        about="Plackett-Luce ranking of 3 classes, sin of a weighted sum of the matrix",
        params={"logits": _leaf([0.4, -0.6, 0.9], [1.2, 0.0, -0.8])},
        build=lambda p: PlackettLuce(p["logits"]),
        weight=_leaf([0.3, -0.5, 1.1], [0.8, 0.2, -0.7], [-1.2, 0.6, 0.4]),
        cost=lambda points, weight: (points * weight).sum((-2, -1)).sin(),
        integrate=by_enumeration,
        discrete=True,
    )


def permutation() -> Problem:
    """A permutation of two, whose probability has a closed form; two rows."""
    return Problem(
        about="Gumbel-Matching permutation of 2, sin of a weighted sum of the matrix",
        params={"logits": _leaf([[0.4, -0.6], [0.9, 0.3]], [[1.2, 0.0], [-0.8, 0.5]])},
        build=lambda p: Permutation(p["logits"]),
        weight=_leaf([0.3, -0.5], [0.8, 0.2]),
        cost=lambda points, weight: (points * weight).sum((-2, -1)).sin(),
        integrate=by_matching,
        discrete=True,
    )


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "bernoulli": bernoulli,
    "bits3": bits3,
    "categorical3": categorical3,
    "categorical8": categorical8,
    "gaussian": gaussian,
    "gaussian2": gaussian2,
    "exponential": exponential,
    "poisson": poisson,
    "binomial": binomial,
    "negative-binomial": negative_binomial,
    "subset": subset,
    "ranking": ranking,
    "permutation": permutation,
    "vae": vae,
}
