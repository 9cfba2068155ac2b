"""PerturbAndMap and Perturbed: laws by integration over the noise, piece by piece."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Independent,
    OneHotCategorical,
    constraints,
)

import reparam as rp
from acceptance import assert_counts, assert_follows, seeded
from perturb_and_map_cases import (
    DOUBLE,
    INF,
    assert_all_close,
    corner,
    corner_nodes,
    integrated,
    leaf,
    pairs,
    race_nodes,
    step,
    step_nodes,
    two_of_three,
    value_and_gradients,
)
from reparam.distributions import (
    GumbelNoise,
    NormalNoise,
    PerturbAndMap,
    SumOfGammaNoise,
)
from reparam.estimators.imle import AdaptiveLambda
from reparam.functional import hard_argmax, matching
from reparam.noise import Noise, fold_in

# The law.


def test_gumbel_noise_over_one_hot_vertices_is_the_categorical():
    """Of the same uniforms the same samples, and from one generator; -inf is never drawn."""
    logits = torch.tensor([[0.3, -1.0, 2.0, -INF], [0.0, 0.0, 0.0, 1.0]])
    q, p = PerturbAndMap(logits, hard_argmax), OneHotCategorical(logits=logits)
    u = torch.rand((500, 2, 4), generator=seeded(0), **DOUBLE).clamp(1e-6, 1 - 1e-6)
    assert torch.equal(rp.Score().draw(q, 500, noise=u).points, rp.Score().draw(p, 500, noise=u)[0])
    assert rp.Score().draw(q, 500, generator=seeded(1)).points[:, 0, 3].sum() == 0


SCORES = [rp.Score(), rp.Rloo()]


@pytest.mark.parametrize("estimator", SCORES, ids=str)
def test_black_box_gradients_are_those_of_the_categorical(estimator):
    """In expectation over Gumbel noise, for any cost of the one-hot vertices."""
    logits, values = leaf([0.4, -0.3, 1.1]), torch.tensor([0.2, -1.0, 3.0], **DOUBLE)
    weights, nodes = race_nodes(logits)
    if isinstance(estimator, rp.Rloo):
        weights, noise = pairs(weights, nodes)
    else:
        noise = nodes[None]
    got = integrated(
        estimator,
        lambda x: PerturbAndMap(x, hard_argmax),
        [logits],
        lambda y: values[y.argmax(-1)],
        (weights, noise),
    )
    assert_all_close(got, value_and_gradients(torch.softmax(logits, -1) @ values, [logits]))


@pytest.mark.parametrize("n", [1, 2])
def test_the_perturbed_mean_of_one_hot_vertices_is_their_softmax(n):
    """In value and in every entry of the Jacobian."""
    logits, weight = leaf([0.4, -0.3, 1.1]), torch.tensor([0.2, -1.0, 3.0], **DOUBLE)
    weights, nodes = race_nodes(logits)
    weights, noise = pairs(weights, nodes) if n == 2 else (weights, nodes[None])
    got = integrated(
        rp.Perturbed(),
        lambda x: PerturbAndMap(x, hard_argmax),
        [logits],
        lambda y: y @ weight,
        (weights, noise),
    )
    assert_all_close(got, value_and_gradients(torch.softmax(logits, -1) @ weight, [logits]))


class Surrogate(torch.nn.Module):
    """A smooth function of perturbed parameters without event dimensions."""

    def forward(self, z: Tensor) -> Tensor:
        return torch.sin(z) + 0.3 * z


UNBIASED = [rp.Score(), rp.Rloo(), rp.Relax(Surrogate()), rp.Perturbed()]


@pytest.mark.parametrize("estimator", UNBIASED, ids=lambda e: type(e).__name__)
def test_normal_noise_over_a_segment(estimator):
    """P(y = 1) = Phi(theta / scale): value, gradient in theta and gradient in the scale."""
    theta, scale = leaf(0.7), leaf(1.3)
    fixed = scale.detach()
    weights, nodes = step_nodes(0.7, 1.3)
    if isinstance(estimator, rp.Relax):  # which trains no scale, and takes two sets of uniforms
        leaves, noise = [theta], torch.stack([nodes, nodes])[:, None]
    else:
        leaves = [theta, scale]
        weights, noise = pairs(weights, nodes)

    def build(theta: Tensor, scale: Tensor = fixed) -> PerturbAndMap:
        return PerturbAndMap(theta, step, NormalNoise(), scale=scale, event_dim=0)

    got = integrated(estimator, build, leaves, lambda y: 2 + 3 * y, (weights, noise))
    truth = 2 + 3 * torch.special.ndtr(theta / scale)
    assert_all_close(got, value_and_gradients(truth, leaves))


def test_a_control_variate_trains_no_scale():
    """So Relax refuses one that is to be learned."""
    q = PerturbAndMap(torch.zeros(()), step, scale=leaf(1.0), event_dim=0)
    draw = rp.Relax(Surrogate()).draw(q)
    with pytest.raises(TypeError, match="q: expected a fixed scale, got one that is learned"):
        draw.combine(draw.points)


@pytest.mark.parametrize("estimator", [rp.Score(), rp.Perturbed()], ids=str)
def test_normal_noise_over_a_triangle(estimator):
    """Probabilities by one integral each: value and gradients in both parameters and the scale."""
    theta, scale = leaf([0.4, -0.2]), leaf(0.8)
    weights, nodes = corner_nodes([0.4, -0.2], 0.8)
    likely = weights > 1e-14
    values = torch.tensor([1.5, -2.0], **DOUBLE)
    got = integrated(
        estimator,
        lambda theta, scale: PerturbAndMap(theta, corner, NormalNoise(), scale=scale[..., None]),
        [theta, scale],
        lambda y: y @ values,
        (weights[likely], nodes[None, likely]),
    )
    x = torch.arange(0, 12, 1e-3, **DOUBLE) + 5e-4
    probabilities = []
    for this, other in ((0, 1), (1, 0)):
        density = torch.exp(-(((x - theta[this]) / scale) ** 2) / 2) / scale / (2 * math.pi) ** 0.5
        probabilities.append(
            (density * torch.special.ndtr((x - theta[other]) / scale)).sum() * 1e-3
        )
    truth = value_and_gradients(torch.stack(probabilities) @ values, [theta, scale])
    for a, b in zip(got, truth, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)  # the midpoint rule's own error


def test_sampled_laws_of_assignments_and_subsets():
    """2 x 2 under normal noise: Phi(S / 2 scale); two of three under Gumbel noise: Plackett-Luce.

    Chi-square, false fail 1e-7 each.
    """
    theta = torch.tensor([[0.3, -0.2], [0.5, 0.8]], **DOUBLE)
    q = PerturbAndMap(theta, matching, NormalNoise(), scale=0.7, event_dim=2)
    straight = rp.Score().draw(q, 5000, generator=seeded(0)).points[:, 0, 0].sum()
    p = torch.special.ndtr((theta[0, 0] + theta[1, 1] - theta[0, 1] - theta[1, 0]) / (2 * 0.7))
    assert_counts(torch.stack([straight, 5000 - straight]), torch.stack([p, 1 - p]))
    logits = torch.tensor([0.5, -0.5, 1.0], **DOUBLE)
    points = PerturbAndMap(logits, two_of_three).sample((20_000,), Noise(seeded(1)))
    w = logits.exp()
    left_out = torch.stack(
        [
            sum(
                w[i] / w.sum() * w[j] / (w.sum() - w[i])
                for i, j in itertools.permutations([k for k in range(3) if k != out])
            )
            for out in range(3)
        ]
    )
    assert_counts((1 - points).sum(0), left_out)


@pytest.mark.parametrize("k", [1, 3])
def test_sums_of_gammas_sum_to_gumbel(k):
    """k of them to sum E_i / i - log terms, whose law is that of the largest of as many E_i.

    Kolmogorov-Smirnov, false fail 1e-7, from a generator and by given uniforms.
    """
    noise, terms = SumOfGammaNoise(k, terms=7), 7
    like = torch.zeros(k)
    u = torch.rand((20_000, k, terms), generator=seeded(1), **DOUBLE)
    for source in (Noise(seeded(0)), Noise(uniforms=u), Noise(key=3)):
        drawn = noise.draw(20_000, like, source)
        assert drawn.dtype == torch.float32
        total = drawn.double().sum(-1) + math.log(terms)
        assert_follows(total, lambda x: (-np.expm1(-np.maximum(x, 0))) ** terms)


# The distribution.


def test_shapes_rows_and_keys():
    """Events of several dimensions, one call of the solver, and rows that know only their key."""
    calls = []

    def solve(z: Tensor) -> Tensor:
        calls.append(z.shape)
        return matching(z.mT).mT  # of any strides

    theta = torch.randn((2, 5, 3, 3), generator=seeded(0))
    q = PerturbAndMap(theta, solve, event_dim=2)
    assert (q.batch_shape, q.event_shape) == ((2, 5), (3, 3))
    assert q.sample().shape == theta.shape
    assert q.sample((4, 1)).shape == (4, 1, 2, 5, 3, 3)
    assert calls == [(10, 3, 3), (40, 3, 3)]
    assert q.expand((7, 2, 5)).sample((4,)).shape == (4, 7, 2, 5, 3, 3)
    assert q.expand((7, 2, 5)).scale.shape == (7, 2, 5, 3, 3)
    assert isinstance(q.support, type(constraints.independent(constraints.real, 2)))
    assert q.support.event_dim == 2
    assert Independent(q, 1).sample().shape == theta.shape
    keys = fold_in(3, torch.arange(10).view(2, 5))
    whole = rp.Score().draw(q, 6, key=keys).points
    part = PerturbAndMap(theta[1:, :2], solve, event_dim=2)
    assert torch.equal(rp.Score().draw(part, 6, key=keys[1:, :2]).points, whole[:, 1:, :2])
    assert rp.Imle().draw(PerturbAndMap(theta[:0], solve, event_dim=2)).points.shape[1] == 0


@pytest.mark.parametrize("estimator", [rp.Perturbed(), rp.Imle(), rp.Rloo()], ids=str)
def test_independent_parts_do_not_disturb_each_other(estimator):
    """Joined into one event they give the same points; Imle and Perturbed the same gradients."""
    results = []
    for joined in (False, True):
        theta = torch.zeros(4, 3, requires_grad=True)
        q = PerturbAndMap(theta, hard_argmax, NormalNoise())
        draw = estimator.draw(Independent(q, 1) if joined else q, 8, generator=seeded(0))
        costs = (draw.points * torch.arange(3)).sum(-1)
        value = draw.combine(costs.sum(-1) if joined else costs)
        results.append((draw.points.detach(), torch.autograd.grad(value.sum(), theta)[0]))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1]) == (not isinstance(estimator, rp.Rloo))


@pytest.mark.parametrize(
    "name",
    ["enumerate", "gumbel-softmax", "straight-through", "rebar", "gumbel-rao", "sum-and-sample"],
)
def test_what_is_unknown_is_refused(name):
    """Estimators that need a relaxation, a support or probabilities say which do not."""
    q = PerturbAndMap(torch.zeros(2, 3), hard_argmax)
    with pytest.raises(TypeError, match=r"q: expected a distribution with .*; use '"):
        rp.estimator(name).draw(q, 2)
    with pytest.raises(TypeError, match="expected a distribution whose samples can be diff"):
        rp.Pathwise().draw(q)
    with pytest.raises(NotImplementedError, match="PerturbAndMap has no log_prob: "):
        q.log_prob(q.sample())
    with pytest.raises(TypeError, match="expected a distribution with a log-probability"):
        rp.families.family(q).log_prob(q.sample((1,)))


def test_perturbed_needs_noise_with_a_density_and_a_solver():
    """Others are named."""
    gamma = PerturbAndMap(torch.zeros(3), two_of_three, SumOfGammaNoise(2))
    assert gamma.sample().sum() == 2
    assert rp.Imle().draw(gamma).points.sum() == 2
    with pytest.raises(TypeError, match="expected noise with a density, got SumOfGammaNoise"):
        rp.Perturbed().draw(gamma)
    with pytest.raises(
        TypeError, match="q: expected a PerturbAndMap, or Independent over one, got"
    ):
        rp.Perturbed().draw(OneHotCategorical(logits=torch.zeros(3)))


def test_perturbed_has_one_point_and_its_gradient_lies_there():
    """The mean of the vertices; detached, there is nothing to differentiate."""
    theta = torch.zeros(3, requires_grad=True)
    q = PerturbAndMap(theta, hard_argmax, GumbelNoise())
    points, combine = rp.Perturbed().draw(q, 40, generator=seeded(0))
    vertices = rp.Score().draw(q, 40, generator=seeded(0)).points
    torch.testing.assert_close(points, vertices.mean(0, keepdim=True))
    assert points.requires_grad
    assert not combine(points.detach()[..., 0]).requires_grad
    # Of one vertex, minus nothing: y times the score.
    z = q.perturb(1, Noise(seeded(1))).detach()
    point = rp.sample(q, rp.Perturbed(), generator=seeded(1))
    (slope,) = torch.autograd.grad(point.sum(), theta)
    torch.testing.assert_close(slope, 1 - torch.exp(-z[0]))


def test_an_impossible_coordinate_moves_nothing():
    """Of -inf, in value and gradients of all estimators."""
    theta = torch.tensor([0.5, -INF, 0.0], requires_grad=True)
    for noise, estimator in itertools.product(
        (GumbelNoise(), NormalNoise()),
        (rp.Rloo(), rp.Perturbed(), rp.Imle(), rp.Imle(AdaptiveLambda())),
    ):
        q = PerturbAndMap(theta, hard_argmax, noise)
        draw = estimator.draw(q, 30, generator=seeded(0))
        value = draw.combine(draw.points @ torch.tensor([1.0, 2, 4]))
        (slope,) = torch.autograd.grad(value, theta)
        assert slope.isfinite().all()
        assert slope[0] != 0
        assert slope[1] == 0


def test_an_impossible_coordinate_does_not_move_the_scale():
    """Its log-density has the slope of the other coordinates' alone."""
    for noise in (GumbelNoise(), NormalNoise()):
        slopes = []
        for theta in ([0.5, -INF, 0.0], [0.5, 0.0]):
            scale = leaf(0.7)
            q = PerturbAndMap(torch.tensor(theta, **DOUBLE), hard_argmax, noise, scale=scale)
            z = torch.tensor([-INF if t == -INF else t + 0.3 for t in theta], **DOUBLE)
            slopes += torch.autograd.grad(q.perturbed_log_prob(z).sum(), scale)
        torch.testing.assert_close(*slopes)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: PerturbAndMap(torch.zeros(3).long(), step), TypeError, "theta: expected a real"),
        (
            lambda: PerturbAndMap(torch.zeros(3), step, event_dim=2),
            ValueError,
            "theta: expected at least event_dim=2 dimensions, got shape (3,)",
        ),
        (
            lambda: PerturbAndMap(torch.zeros(3), step, event_dim=-1),
            ValueError,
            "event_dim: expected an integer >= 0",
        ),
        (
            lambda: PerturbAndMap(torch.zeros(3), step, scale=0.0, validate_args=True),
            ValueError,
            "Expected parameter scale",
        ),
        (
            lambda: PerturbAndMap(torch.full((3,), float("nan")), step, validate_args=True),
            ValueError,
            "Expected parameter theta",
        ),
        (
            lambda: PerturbAndMap(torch.zeros(2, 3), lambda z: z[0]).sample(),
            ValueError,
            "solver: expected vertices of the shape of its argument, (2, 3), got (3,)",
        ),
        (
            lambda: PerturbAndMap(torch.zeros(2, 3), lambda z: z.numpy()).sample(),
            ValueError,
            "solver: expected vertices of the shape of its argument, (2, 3), got ndarray",
        ),
        (lambda: SumOfGammaNoise(0), ValueError, "k: expected an integer >= 1"),
        (lambda: AdaptiveLambda(step=0.0), ValueError, "expected nonzero, step and alpha > 0"),
    ],
)
def test_wrong_arguments_are_refused(make, error, message):
    """With what was expected and what was given."""
    with pytest.raises(error, match=re.escape(message)):
        make()
