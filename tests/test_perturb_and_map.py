"""PerturbAndMap, Imle and Perturbed: laws by integration over the noise, piece by piece."""

import copy
import itertools
import math
import re

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Independent,
    OneHotCategorical,
    constraints,
)

import reparam as rp
from acceptance import assert_counts, assert_follows, seeded
from reparam.distributions import (
    GumbelNoise,
    NormalNoise,
    PerturbAndMap,
    PlackettLuce,
    SumOfGammaNoise,
)
from reparam.estimators.imle import AdaptiveLambda
from reparam.functional import hard_argmax, hard_topk, matching
from reparam.noise import Noise, fold_in

DOUBLE = {"dtype": torch.float64}
INF = float("inf")
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def step(z: Tensor) -> Tensor:
    """The vertices {0, 1} of a segment."""
    return (z > 0).to(z)


def corner(z: Tensor) -> Tensor:
    """The vertices (0, 0), (1, 0) and (0, 1) of a triangle."""
    return hard_argmax(torch.cat([torch.zeros_like(z[:, :1]), z], -1))[:, 1:]


def two_of_three(z: Tensor) -> Tensor:
    """The vertices with two ones."""
    return hard_topk(z, 2)


def three_of_six(z: Tensor) -> Tensor:
    """The vertices with three ones, as matrices."""
    return hard_topk(z.flatten(1), 3).view(z.shape)


def leaf(value: object) -> Tensor:
    """In float64, to be differentiated."""
    return torch.tensor(value, **DOUBLE, requires_grad=True)


# Nodes: weights `(rows)` and uniforms `(rows, *event)` that integrate an estimator exactly.


def legendre(low: float, high: float) -> tuple[Tensor, Tensor]:
    """30 nodes and weights on an interval."""
    x, w = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(30))
    return (high - low) / 2 * x + (high + low) / 2, (high - low) / 2 * w


def panels(breaks: list[float]) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the standard normal density, smooth between the breaks."""
    inner = sorted({min(8.0, max(-8.0, b)) for b in (-8, -6, -3, -1.5, 0, 1.5, 3, 6, 8, *breaks)})
    parts = [legendre(*pair) for pair in itertools.pairwise(inner)]
    x, w = (torch.cat(p) for p in zip(*parts, strict=True))
    return x, w * torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)


def step_nodes(theta: float, scale: float) -> tuple[Tensor, Tensor]:
    """Of one normal variable, on both sides of where theta + scale Z = 0."""
    x, w = panels([-theta / scale])
    return w, torch.special.ndtr(x)


def corner_nodes(theta: list[float], scale: float) -> tuple[Tensor, Tensor]:
    """Of two normal variables, on all sides of what decides between the triangle's vertices."""
    weights, nodes = [], []
    for x, w in zip(*panels([-theta[0] / scale]), strict=True):
        best = max(0.0, theta[0] + scale * float(x))
        y, v = panels([(best - theta[1]) / scale])
        nodes.append(torch.stack([x.expand_as(y), y], -1))
        weights.append(w * v)
    return torch.cat(weights), torch.special.ndtr(torch.cat(nodes))


def race_nodes(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Of Gumbel noise -log E, for what is linear in E once the winner of E / exp(logits) is known.

    The winner's time is Exponential(sum exp(logits)), and what each other takes longer is
    exponential again: Gauss-Laguerre, two nodes for each.
    """
    x, w = (torch.from_numpy(a) for a in np.polynomial.laguerre.laggauss(2))
    k, rates = len(logits), logits.detach().exp()
    each = torch.cartesian_prod(*[x] * k).reshape(-1, k)
    chance = torch.cartesian_prod(*[w] * k).reshape(-1, k).prod(-1)
    weights, nodes = [], []
    for winner in range(k):
        later = each.clone()
        later[:, winner] = 0
        nodes.append(later + each[:, winner : winner + 1] / rates.sum() * rates)
        weights.append(chance * rates[winner] / rates.sum())
    return torch.cat(weights), torch.exp(-torch.cat(nodes))


def pairs(weights: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """The same for two independent samples: weights `(rows^2)`, nodes `(2, rows^2, *event)`."""
    i, j = torch.cartesian_prod(*[torch.arange(len(weights))] * 2).T
    both = weights[i] * weights[j]
    i, j = i[both > 1e-16], j[both > 1e-16]
    return weights[i] * weights[j], torch.stack([nodes[i], nodes[j]])


def integrated(estimator, build, leaves, cost, nodes: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Expected value and gradients: every node is a row of one draw."""
    weights, noise = nodes
    rows = [x.expand(len(weights), *x.shape) for x in leaves]
    n = 1 if isinstance(estimator, rp.Relax) else len(noise)
    draw = estimator.draw(build(*rows), n, noise=noise)
    return value_and_gradients((weights * draw.combine(cost(draw.points))).sum(), leaves)


def assert_all_close(got: list[Tensor], truth: list[Tensor]) -> None:
    """To 1e-9."""
    for a, b in zip(got, truth, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def value_and_gradients(value: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Of a scalar with a graph."""
    return [value.detach(), *torch.autograd.grad(value, leaves)]


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


# I-MLE.


def solver_of(kind: str):
    """A q with 3 x 2 parameters for each of two rows, of a kind, and its plain solver."""
    theta = torch.randn((2, 3, 2), generator=seeded(3), **DOUBLE).requires_grad_()
    if kind == "solver":
        return PerturbAndMap(theta, three_of_six, NormalNoise(), event_dim=2), theta, three_of_six
    if kind == "categorical":
        return Independent(OneHotCategorical(logits=theta), 1), theta, hard_argmax
    return Independent(Bernoulli(logits=theta), 2), theta, step


@pytest.mark.parametrize("central", [False, True])
@pytest.mark.parametrize("kind", ["solver", "categorical", "bernoulli"])
@pytest.mark.parametrize("n", [1, 5])
def test_imle_is_its_definition(kind, n, central):
    """For each sample, row and weight of the loss: two solutions at the noise of the sample."""
    q, theta, solve = solver_of(kind)
    lam, weight = 2.5, torch.tensor([1.0, -0.3], **DOUBLE)
    target = torch.rand((3, 2), generator=seeded(4), **DOUBLE)
    draw = rp.Imle(lam, central=central).draw(q, n, generator=seeded(5))
    assert draw.points.shape == (n, 2, 3, 2)
    (got,) = torch.autograd.grad(
        weight @ draw.combine((draw.points - target).square().sum((-1, -2))), theta
    )
    z = rp.families.family(q).perturb(n, Noise(seeded(5))).detach()
    y = solve(z.flatten(0, 1)).view(z.shape)
    assert torch.equal(draw.points, y)
    g = weight.view(2, 1, 1) * 2 * (y - target)
    below, above = (solve((z + s * lam * g).flatten(0, 1)).view(z.shape) for s in (-1, 1))
    expected = (above - below) / (2 * lam) if central else (y - below) / lam
    assert expected.count_nonzero() > 0
    torch.testing.assert_close(got, expected.mean(0))


@pytest.mark.parametrize("central", [False, True])
def test_imle_of_a_linear_cost_is_a_finite_difference_of_the_mean(central):
    """Exactly, by the pieces of the noise: of Phi under normal noise, of a Bernoulli's sigmoid."""
    slope, lam, theta = 0.8, 1.5, torch.tensor(0.4, **DOUBLE)
    for build, cdf in (
        (
            lambda x: PerturbAndMap(x, step, NormalNoise(), scale=0.6, event_dim=0),
            lambda x: torch.special.ndtr(x / 0.6),
        ),
        (lambda x: Bernoulli(logits=x), torch.sigmoid),
    ):
        below, here, above = (cdf(theta + s * lam * slope) for s in (-1, 0, 1))
        # A solution is 1 where u > 1 - cdf: nodes in the middle of the pieces.
        ends = torch.tensor([0, 1 - above, 1 - here, 1 - below, 1], **DOUBLE)
        nodes = (ends[1:] + ends[:-1]) / 2
        rows = theta.expand(4).clone().requires_grad_()
        draw = rp.Imle(lam, central=central).draw(build(rows), noise=nodes[None])
        (each,) = torch.autograd.grad(draw.combine(slope * draw.points).sum(), rows)
        truth = (above - below) / (2 * lam) if central else (here - below) / lam
        torch.testing.assert_close(each @ ends.diff(), truth, **EXACT)


def test_imle_without_a_difference_has_no_gradient():
    """Where the solution is far from changing, and where the cost has no gradient."""
    theta = torch.tensor([50.0, 0, -INF], requires_grad=True)
    q = PerturbAndMap(theta, hard_argmax)
    for lam in (1.0, AdaptiveLambda()):
        for cost in (lambda y: y[..., 1], lambda y: 0 * y[..., 0]):
            draw = rp.Imle(lam).draw(q, 3, generator=seeded(0))
            (slope,) = torch.autograd.grad(draw.combine(cost(draw.points)), theta)
            assert not slope[1:].isnan().any()
            assert slope.isfinite().all()
    draw = rp.Imle(1.0).draw(q, 3, generator=seeded(0))
    assert not torch.autograd.grad(draw.points.sum(), theta)[0].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_solved_in_float32(dtype):
    """The solver sees float32; points and gradients have the parameters' dtype."""
    seen = []

    def solve(z: Tensor) -> Tensor:
        seen.append(z.dtype)
        assert not z.requires_grad
        assert not torch.is_grad_enabled()
        return hard_argmax(z)

    theta = torch.tensor([0.5, 0.0, -0.5], dtype=dtype, requires_grad=True)
    for estimator in (rp.Imle(), rp.Imle(AdaptiveLambda()), rp.Perturbed(), rp.Rloo()):
        draw = estimator.draw(PerturbAndMap(theta, solve), 20, generator=seeded(0))
        assert draw.points.dtype == dtype
        value = draw.combine(draw.points @ torch.tensor([1.0, 2, 3], dtype=dtype))
        (slope,) = torch.autograd.grad(value, theta)
        assert slope.dtype == dtype
        assert slope.isfinite().all()
        assert slope.any()
    assert set(seen) == {torch.float32}


def test_imle_refuses_second_derivatives_and_other_outcomes():
    """By saying so."""
    theta = torch.zeros(3, requires_grad=True)
    points = rp.Imle().draw(PerturbAndMap(theta, hard_argmax), generator=seeded(0)).points
    (slope,) = torch.autograd.grad(points.square().sum(), theta, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        slope.sum().backward()
    for q in (Categorical(logits=theta), PlackettLuce(theta)):
        with pytest.raises(TypeError, match="q: expected outcomes in the space of its parameters"):
            rp.Imle().draw(q)
    for lam in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="lam: expected a number > 0 or an AdaptiveLambda"):
            rp.Imle(lam)


# The adaptive lambda.


def adaptive_gradient(size: float, lam: AdaptiveLambda, times: float = 1.0) -> Tensor:
    """The gradient of costs of a size, in parameters of another, at one noise."""
    theta = times * torch.tensor([[0.5, 0.0, -0.5], [1.0, 0.2, 0.1]], **DOUBLE)
    theta.requires_grad_()
    q = PerturbAndMap(theta, hard_argmax, NormalNoise(), scale=times)
    draw = rp.Imle(lam).draw(q, 20, generator=seeded(0))
    value = draw.combine(size * (draw.points - 0.3).square() @ torch.tensor([1.0, 2, 4], **DOUBLE))
    return torch.autograd.grad(value.sum(), theta)[0]


def test_adaptive_lambda_is_alpha_times_the_ratio_of_norms():
    """For each point alone: y - y', over lambda."""
    lam = AdaptiveLambda(alpha=0.7).eval()
    z, g = torch.randn((2, 4, 5), generator=seeded(0), **DOUBLE)
    expected = 0.7 * z.norm(dim=-1, keepdim=True) / g.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(lam(z, g), expected)
    for event_dim, shape in ((0, (4, 5)), (2, (4, 5)), (1, (4, 5))):
        theta = torch.randn(shape, generator=seeded(1), **DOUBLE).requires_grad_()
        q = PerturbAndMap(theta, step, event_dim=event_dim)
        points = rp.Imle(lam).draw(q, generator=seeded(2)).points
        (got,) = torch.autograd.grad((points * z[..., :5]).sum(), theta)
        at = q.perturb(1, Noise(seeded(2))).detach()[0]
        rows = (at.reshape(*shape[: 2 - event_dim], -1), z.reshape(*shape[: 2 - event_dim], -1))
        size = lam(*rows).reshape(*shape[: 2 - event_dim], *[1] * event_dim)
        torch.testing.assert_close(got, (step(at) - step(at - size * z)) / size)


def test_adaptive_lambda_knows_no_units():
    """A cost 1e6 times as large has that gradient; of parameters as much larger, its inverse."""
    one = adaptive_gradient(1.0, AdaptiveLambda())
    assert one.any()
    torch.testing.assert_close(adaptive_gradient(1e6, AdaptiveLambda()), 1e6 * one)
    torch.testing.assert_close(adaptive_gradient(1.0, AdaptiveLambda(), 1e6), one / 1e6)


def test_alpha_moves_towards_the_wanted_sparsity():
    """By a step at a time, by the moving average of non-zero coordinates; not in eval mode."""
    lam = AdaptiveLambda(nonzero=1.0, step=0.125, decay=0.75, alpha=0.25)
    lam.observe(torch.ones(4, 3))
    assert (float(lam.average), float(lam.alpha)) == (1.5, 0.125)
    lam.observe(torch.ones(4, 3))  # never 0
    assert float(lam.alpha) == 0.125
    for power, alpha in enumerate((0.125, 0.125, 0.25, 0.375), 1):
        lam.observe(torch.zeros(4, 3))
        assert (float(lam.average), float(lam.alpha)) == (1.875 * 0.75**power, alpha)
    lam.observe(torch.zeros(0, 3))
    lam.eval().observe(torch.zeros(4, 3))
    assert float(lam.alpha) == 0.375
    restored = AdaptiveLambda()
    restored.load_state_dict(lam.state_dict())
    assert float(restored.alpha) == 0.375
    assert rp.Imle(lam).modules() == {"lam": lam}
    assert list(rp.Imle(lam).parameters()) == []


@pytest.mark.parametrize("wanted", [0.2, 1.0])
def test_sparsity_arrives_where_it_is_wanted(wanted):
    """On average over the second half of 400 backward passes, to a fifth."""
    lam = AdaptiveLambda(nonzero=wanted, step=0.02)
    theta = torch.tensor([0.5, 0.0, -0.5], requires_grad=True)
    counts = []
    for seed in range(400):
        draw = rp.Imle(lam).draw(PerturbAndMap(theta, hard_argmax), 50, generator=seeded(seed))
        draw.combine(draw.points @ torch.tensor([1.0, 2, 4])).backward()
        counts.append(float(lam.average))
    assert sum(counts[200:]) / 200 == pytest.approx(wanted, rel=0.2)


@torch.enable_grad()
def shortest_path(theta: Tensor) -> Tensor:
    """Corner to corner of a grid, right or down: the slope of the best sum, by dynamic program."""
    best, theta = {}, theta.requires_grad_()
    for i, j in itertools.product(range(4), range(4)):
        before = [best[k] for k in ((i - 1, j), (i, j - 1)) if k in best]
        best[i, j] = theta[:, i, j] + (torch.stack(before).max(0).values if before else 0)
    return torch.autograd.grad(best[3, 3].sum(), theta)[0]


@pytest.mark.parametrize(
    "estimator",
    [rp.Imle(), rp.Imle(central=True), rp.Imle(AdaptiveLambda()), rp.Perturbed(), rp.Rloo()],
    ids=str,
)
def test_a_shortest_path_is_learned(estimator):
    """Lengths are trained until a given path is the shortest; so they are from 12 other seeds."""
    estimator = copy.deepcopy(estimator)
    wanted = torch.zeros(4, 4)
    wanted[[0, 0, 0, 1, 2, 2, 3], [0, 1, 2, 2, 2, 3, 3]] = 1
    lengths = torch.full((4, 4), 1.0) - 0.3 * torch.eye(4)
    lengths.requires_grad_()
    optimizer = torch.optim.SGD([lengths], lr=0.05)
    for seed in range(150):
        optimizer.zero_grad()
        q = PerturbAndMap(-lengths, shortest_path, NormalNoise(), scale=0.3, event_dim=2)
        draw = estimator.draw(q, 16, generator=seeded(seed))
        draw.combine((draw.points - wanted).square().sum((-1, -2))).backward()
        optimizer.step()
    assert torch.equal(shortest_path(-lengths.detach()[None])[0], wanted)


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
