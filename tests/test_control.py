"""Control variates learn, and nobody else notices."""

import copy

import pytest
import torch

import laws
import reparam as rp

LEARNING = [rp.Rebar(), rp.Relax(laws.Wave(1)), rp.DoubleCv(alpha=-0.3)]


def gradients(estimator, problem, seed=0, n=8, sign=1.0):
    """One draw's gradients in q's and the cost's parameters, and in the estimator's own."""
    for p in estimator.parameters():
        p.grad = None
    draw = estimator.draw(problem.q(), n, generator=laws.seeded(seed))
    value = sign * draw.combine(problem.cost(draw.points, problem.weight)).mean()
    leaves = [*problem.params.values(), problem.weight]
    for leaf in leaves:
        leaf.grad = None
    value.backward()
    return [leaf.grad.clone() for leaf in leaves], [p.grad for p in estimator.parameters()]


def frozen(estimator):
    """The same estimator, not learning."""
    estimator = copy.deepcopy(estimator)
    for p in estimator.parameters():
        p.requires_grad_(False)
    return estimator


@pytest.mark.parametrize("estimator", LEARNING, ids=str)
def test_learning_disturbs_nobody(estimator):
    """The gradients of q and of the cost are the same whether or not the control variate learns."""
    problem = rp.PROBLEMS["bits3"]()
    with_learning, own = gradients(estimator, problem)
    without, _ = gradients(frozen(estimator), problem)
    for a, b in zip(with_learning, without, strict=True):
        assert torch.equal(a, b)
    assert all(g is not None and g.abs().sum() > 0 for g in own)


@pytest.mark.parametrize("estimator", LEARNING, ids=str)
def test_maximizing_still_learns_downhill(estimator):
    """A caller who negates the result trains the control variate in the same direction."""
    problem = rp.PROBLEMS["bits3"]()
    _, down = gradients(estimator, problem, sign=1.0)
    _, up = gradients(estimator, problem, sign=-1.0)
    for a, b in zip(down, up, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["bits3", "categorical3", "vae"])
@pytest.mark.parametrize("kind", [rp.Rebar, rp.Relax])
def test_cost_sees_hard_points_alone(kind, name):
    """The control variate adds no noise to the gradient of the cost's own parameters."""
    problem = rp.PROBLEMS[name]()
    wave = laws.Wave(len(problem.q().event_shape))
    estimator = rp.Relax(wave) if kind is rp.Relax else rp.Rebar()
    noise = torch.rand(laws.noise_shape(estimator, problem.q(), 4), generator=laws.seeded(0))
    results = []
    for way, u in ((estimator, noise.double()), (rp.Score(), noise[0].double())):
        draw = way.draw(problem.q(), 4, noise=u)
        value = draw.combine(problem.cost(draw.points, problem.weight)).sum()
        results.append(torch.autograd.grad(value, problem.weight)[0])
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("estimator", LEARNING, ids=str)
def test_objective_is_the_squared_gradient(estimator):
    """What the parameters descend is the mean squared gradient: by finite differences, one draw."""
    problem = rp.PROBLEMS["bits3"]()
    estimator = copy.deepcopy(estimator)
    for p in estimator.parameters():
        p.data = p.data.double()

    def squared():
        draw = estimator.draw(problem.q(), 3, generator=laws.seeded(5))
        value = draw.combine(problem.cost(draw.points, problem.weight)).sum()
        (g,) = torch.autograd.grad(value, problem.params["logits"])
        return g.square().sum(-1).mean().item()

    _, own = gradients(estimator, problem, seed=5, n=3)
    for p, got in zip(estimator.parameters(), own, strict=True):
        before, h = p.data.clone(), 1e-5
        p.data = before + h
        high = squared()
        p.data = before - h
        slope = (high - squared()) / (2 * h)
        p.data = before
        assert got.item() == pytest.approx(slope, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("kind", [rp.Rebar, rp.Relax, rp.DoubleCv])
def test_learning_lowers_the_variance(kind):
    """After training, the variance over fresh draws is well below what it was; same draws twice."""
    problem = rp.PROBLEMS["bits3"]()
    estimator = kind(laws.Wave(1)) if kind is rp.Relax else kind()
    before = variance(estimator, problem)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=0.02)
    for seed in range(300):
        _, own = gradients(estimator, problem, seed=seed)
        assert all(g is not None for g in own)
        optimizer.step()
    assert variance(estimator, problem) < 0.9 * before


def variance(estimator, problem):
    """Total variance of the one-sample gradient, over 4,000 rows of one draw."""
    logits = problem.params["logits"].detach()[0].expand(4000, 3).clone().requires_grad_()
    draw = frozen(estimator).draw(problem.build({"logits": logits}), 1, generator=laws.seeded(9))
    value = draw.combine(problem.cost(draw.points, problem.weight)).sum()
    (g,) = torch.autograd.grad(value, logits)
    return g.var(0).sum().item()


def test_no_gradient_mode_gives_the_value():
    """Without grad mode, or with nothing to differentiate, the value comes out as it is."""
    problem = rp.PROBLEMS["bits3"]()
    for estimator in LEARNING:
        draw = estimator.draw(problem.q(), 4, generator=laws.seeded(0))
        costs = problem.cost(draw.points, problem.weight)
        with torch.no_grad():
            quiet = estimator.draw(problem.q(), 4, generator=laws.seeded(0))
            value = quiet.combine(problem.cost(quiet.points, problem.weight))
        torch.testing.assert_close(value, draw.combine(costs).detach())
