"""Imle and its adaptive lambda, against their definitions and finite differences."""

import copy
import itertools

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Independent,
    OneHotCategorical,
)

import reparam as rp
from acceptance import seeded
from perturb_and_map_cases import DOUBLE, EXACT, INF, step, three_of_six
from reparam.distributions import (
    NormalNoise,
    PerturbAndMap,
    PlackettLuce,
)
from reparam.estimators.imle import AdaptiveLambda
from reparam.functional import hard_argmax
from reparam.noise import Noise

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
