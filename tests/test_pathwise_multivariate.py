"""Multivariate reparameterizations: explicit maps, gradients by quadrature, laws."""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch import distributions as D

import reparam as rp
from acceptance import assert_follows, seeded

DOUBLE = {"dtype": torch.float64}
loc = torch.tensor([0.5, -0.3], **DOUBLE)
tril = torch.tensor([[1.2, 0.0], [-0.7, 0.8]], **DOUBLE)
factor = torch.tensor([[0.9], [-0.4]], **DOUBLE)
diagonal = torch.tensor([0.3, 0.6], **DOUBLE)
direction = torch.tensor([0.7, -1.1], **DOUBLE)

axis = torch.arange(-8, 8.1, 0.2, **DOUBLE)
t = torch.cartesian_prod(axis, axis)
weights = torch.exp(-t.square().sum(-1) / 2) * 0.04 / (2 * math.pi)

# Parameters, the distribution, and the covariance of the Normal underneath.
NORMALS = {
    "tril": (
        (loc, tril),
        lambda m, a: D.MultivariateNormal(m, scale_tril=a.tril()),
        lambda a: a.tril() @ a.tril().mT,
    ),
    "covariance": (
        (loc, tril @ tril.T),
        D.MultivariateNormal,
        lambda a: a,
    ),
    "precision": (
        (loc, tril @ tril.T),
        lambda m, a: D.MultivariateNormal(m, precision_matrix=a),
        torch.linalg.inv,
    ),
    "low-rank": (
        (loc, factor, diagonal),
        D.LowRankMultivariateNormal,
        lambda w, d: w @ w.mT + torch.diag(d),
    ),
    "independent": (
        (loc, diagonal),
        lambda m, s: D.Independent(D.Normal(m, s), 1),
        lambda s: torch.diag(s.square()),
    ),
}
every_normal = pytest.mark.parametrize("name", NORMALS)


def build(name: str) -> tuple[D.Distribution, list[Tensor], Tensor]:
    """The distribution, its parameters as leaves, and its covariance as their function."""
    values, make, covariance = NORMALS[name]
    leaves = [v.clone().requires_grad_() for v in values]
    return make(*leaves), leaves, covariance(*leaves[1:])


@every_normal
def test_points_are_the_cholesky_map_of_the_quantiles(name):
    """mu + L Phi^-1(u), L L^T the covariance: one uniform per coordinate, batches as well."""
    q, _, covariance = build(name)
    u = torch.rand(6, 3, 2, generator=seeded(0), **DOUBLE)
    points = rp.Pathwise().draw(q.expand((3,)), 6, noise=u).points
    expected = loc + torch.special.ndtri(u) @ torch.linalg.cholesky(covariance).T
    torch.testing.assert_close(points, expected, rtol=1e-10, atol=1e-12)


@every_normal
def test_gradients_are_those_of_the_closed_form(name):
    """E[w.x], E[x1 x2] and E[sin w.x], by a trapezoid rule in two dimensions, to 1e-9."""
    q, leaves, covariance = build(name)
    x = rp.Pathwise().draw(q, len(t), noise=torch.special.ndtr(t)).points
    along, spread = leaves[0] @ direction, direction @ covariance @ direction
    pairs = [
        (x @ direction, along),
        (x.prod(-1), covariance[0, 1] + leaves[0].prod()),
        ((x @ direction).sin(), torch.exp(-spread / 2) * along.sin()),
    ]
    for costs, truth in pairs:
        value = weights @ costs
        torch.testing.assert_close(value, truth, rtol=1e-9, atol=1e-9)
        got = torch.autograd.grad(value, leaves, retain_graph=True, materialize_grads=True)
        exact = torch.autograd.grad(
            truth, leaves, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        for g, e in zip(got, exact, strict=True):
            symmetric = (lambda a: a + a.mT) if name in ("covariance", "precision") else _same
            g, e = (symmetric(v) if v.ndim == 2 else v for v in (g, e))  # noqa: PLW2901
            torch.testing.assert_close(g, e, rtol=1e-8, atol=1e-8)


def _same(a: Tensor) -> Tensor:
    return a


@every_normal
def test_native_points_are_normal_in_every_direction(name):
    """KS of three projections, 1e5 draws: false fail 3e-7; a CDF wrong by .018 passes at 1e-7."""
    q, _, covariance = build(name)
    x = rp.Pathwise().draw(q, 100_000, generator=seeded(1)).points
    for w in (direction, direction.flip(0), direction.abs()):
        scale = (w @ covariance @ w).sqrt().item()
        assert_follows(x @ w, stats.norm((loc @ w).item(), scale).cdf)


def logistic_normal() -> tuple[D.LogisticNormal, list[Tensor]]:
    """Three classes, from two Normals."""
    leaves = [loc.clone().requires_grad_(), diagonal.clone().requires_grad_()]
    return D.LogisticNormal(*leaves), leaves


def broken_stick(y: Tensor) -> Tensor:
    """Two real numbers to three shares: break off sigmoid(y1 - log 2), then sigmoid(y2)."""
    first = torch.sigmoid(y[..., 0] - math.log(2))
    second = (1 - first) * torch.sigmoid(y[..., 1])
    return torch.stack([first, second, 1 - first - second], -1)


def test_logistic_normal_points_are_the_broken_stick_of_the_quantiles():
    """One uniform per Normal underneath."""
    u = torch.rand(6, 2, generator=seeded(0), **DOUBLE)
    points = rp.Pathwise().draw(logistic_normal()[0], 6, noise=u).points
    torch.testing.assert_close(points, broken_stick(loc + diagonal * torch.special.ndtri(u)))


def test_logistic_normal_gradients_are_those_of_its_density():
    """Pathwise against the score, both by quadrature: they share no map, to 1e-8."""
    q, leaves = logistic_normal()
    costs = torch.tensor([1.0, -2.0, 0.5], **DOUBLE)
    x = rp.Pathwise().draw(q, len(t), noise=torch.special.ndtr(t)).points
    pathwise = weights @ (x @ costs).exp()

    places = broken_stick(0.65 * t)  # a grid of its own: places do not move with the parameters
    first, second, third = places.unbind(-1)
    slope = 0.65**2 * first * second * third  # |dx/dt|
    inside = slope > 0
    density = q.log_prob(places[inside]).exp() * slope[inside] * 0.04
    score = density @ (places[inside] @ costs).exp()

    torch.testing.assert_close(pathwise, score, rtol=1e-8, atol=1e-8)
    for got, exact in zip(
        torch.autograd.grad(pathwise, leaves), torch.autograd.grad(score, leaves), strict=True
    ):
        torch.testing.assert_close(got, exact, rtol=1e-7, atol=1e-8)


def test_native_logistic_normal_points_unwind_to_normals():
    """KS of both logits, 1e5 draws: false fail 2e-7; a CDF wrong by .018 passes at 1e-7."""
    q, _ = logistic_normal()
    x = rp.Pathwise().draw(q, 100_000, generator=seeded(1)).points
    first = torch.logit(x[:, 0]) + math.log(2)
    assert_follows(first, stats.norm(loc[0].item(), diagonal[0].item()).cdf)
    second = x[:, 1].log() - x[:, 2].log()
    assert_follows(second, stats.norm(loc[1].item(), diagonal[1].item()).cdf)


@pytest.mark.parametrize("name", ["tril", "low-rank"])
def test_autocast_leaves_the_matrix_product_in_full_precision(name):
    """Points under autocast are those without it."""
    values, make, _ = NORMALS[name]
    q = make(*(v.float() for v in values))
    plain = rp.Pathwise().draw(q, 50, generator=seeded(1)).points
    with torch.autocast("cpu", torch.bfloat16):
        cast = rp.Pathwise().draw(q, 50, generator=seeded(1)).points
    assert torch.equal(plain, cast)
