"""The theory: draws, the surrogate and its derivatives, control variates, refusals."""

import dataclasses
import re

import pytest
import torch
from torch import Tensor
from torch.autograd import grad
from torch.distributions import Bernoulli, Independent, Normal, OneHotCategorical

import reparam as rp
from acceptance import seeded
from reparam.baselines import Learned
from reparam.control import alongside
from reparam.core import average, surrogate

DOUBLE = {"dtype": torch.float64}
q = Bernoulli(logits=torch.zeros(2, 3, **DOUBLE))


def test_a_draw_is_points_and_combine():
    """It unpacks; its points lead with P; its result has q's batch shape."""
    points, combine = rp.Rloo().draw(q, 4)
    assert points.shape == (4, 2, 3)
    assert combine(points).shape == (2, 3)


@pytest.mark.parametrize("n", [0, -1, 2.0, True, "3"])
def test_a_count_that_is_none_is_refused(n):
    """n is an integer of at least 1."""
    with pytest.raises(ValueError, match=re.escape(f"n: expected an integer >= 1, got {n!r}")):
        rp.Score().draw(q, n)


@pytest.mark.parametrize("wrong", [torch.zeros(3), None, Bernoulli])
def test_what_is_no_distribution_is_refused(wrong):
    """The message says how to wrap logits."""
    with pytest.raises(TypeError, match=r"got .*; wrap logits as OneHotCategorical"):
        rp.Score().draw(wrong)


def test_noise_and_generator_exclude_each_other():
    """Through every public door."""
    source = {"generator": seeded(0), "noise": torch.full((1, 2, 3), 0.5)}
    for call in (
        lambda: rp.Score().draw(q, **source),
        lambda: rp.expect(average, q, rp.Score(), **source),
        lambda: rp.sample(q, rp.GumbelSoftmax(), **source),
    ):
        with pytest.raises(ValueError, match="got generator= and noise="):
            call()


@pytest.mark.parametrize(
    ("costs", "fix"),
    [
        (torch.zeros(4, 2), "wrap q in Independent(q, 1)"),
        (torch.zeros(4), "wrap q in Independent(q, 2)"),
        (torch.zeros(2, 3), "keep the points' leading dimension"),
        (torch.zeros(()), "keep the points' leading dimension"),
        (torch.zeros(4, 2, 3, 1), "keep the points' leading dimension"),
        (torch.zeros(4, 2, 1), "keep the points' leading dimension"),
    ],
)
def test_costs_of_another_shape_are_refused(costs, fix):
    """Nothing broadcasts silently; the message says what to do."""
    combine = rp.Score().draw(q, 4).combine
    got = re.escape(f"shape (4, 2, 3) = (points, *batch), got {tuple(costs.shape)}; ")
    with pytest.raises(ValueError, match=f"{got}.*{re.escape(fix)}"):
        combine(costs)


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.complex64])
def test_costs_of_another_kind_are_refused(kind):
    """They must be real and floating."""
    with pytest.raises(TypeError, match="costs: expected a real floating-point tensor"):
        rp.Score().draw(q, 4).combine(torch.zeros(4, 2, 3, dtype=kind))


def test_expect_is_draw_and_combine():
    """With the same source, the same number."""
    logits = torch.zeros(2, 3, **DOUBLE, requires_grad=True)
    got = rp.expect(torch.exp, Bernoulli(logits=logits), rp.Rloo(), 5, generator=seeded(1))
    draw = rp.Rloo().draw(Bernoulli(logits=logits), 5, generator=seeded(1))
    expected = draw.combine(draw.points.exp())
    assert torch.equal(got, expected)
    assert torch.equal(grad(got.sum(), logits)[0], grad(expected.sum(), logits)[0])


def test_sample_is_one_point_with_a_gradient():
    """Of shape (*batch, *event)."""
    logits = torch.zeros(2, 4, requires_grad=True)
    y = rp.sample(OneHotCategorical(logits=logits), rp.GumbelSoftmax(0.5), generator=seeded(0))
    assert y.shape == (2, 4)
    assert grad(y[:, 0].sum(), logits)[0].abs().sum() > 0


@pytest.mark.parametrize("estimator", [rp.Score(), rp.Rloo(), rp.Enumerate()])
def test_sample_refuses_estimators_without_pathwise_points(estimator):
    """The message names the estimator and the way out."""
    with pytest.raises(TypeError, match=rf"got {type(estimator).__name__}, whose gradient.*draw"):
        rp.sample(q, estimator)


@pytest.mark.parametrize("baseline", [0.0, 3.0])
def test_the_surrogate_is_right_in_value_and_two_derivatives(baseline):
    """Over the support, weighted by constant probabilities, it is E_q[f] to second order."""
    logits = torch.tensor([0.3, -1.0, 0.8], **DOUBLE, requires_grad=True)
    costs = torch.tensor([1.0, 4.0, -2.0], **DOUBLE)

    def exact(logits: Tensor) -> Tensor:
        return torch.softmax(logits, 0) @ costs

    def estimated(logits: Tensor) -> Tensor:
        log_p = torch.log_softmax(logits, 0)
        return torch.softmax(logits, 0).detach() @ surrogate(costs, log_p, baseline)

    assert torch.equal(surrogate(costs, torch.log_softmax(logits, 0), baseline), costs)
    for derivative in (torch.autograd.functional.jacobian, torch.autograd.functional.hessian):
        torch.testing.assert_close(derivative(estimated, logits), derivative(exact, logits))


@pytest.mark.parametrize("estimator", [rp.Score(), rp.Score(rp.baselines.Constant(0.7)), rp.Rloo()])
def test_second_derivatives_pass_through_draws(estimator):
    """Value and two derivatives in the logit, averaged over every tuple of outcomes: exact."""
    logit = torch.tensor(-(3**0.5), **DOUBLE, requires_grad=True)
    off = torch.sigmoid(-logit.detach())  # uniforms above give 1
    total = torch.zeros((), **DOUBLE)
    for bits in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        noise = torch.stack([(1 + off) / 2 if bit else off / 2 for bit in bits])
        draw = estimator.draw(Bernoulli(logits=logit), 2, noise=noise)
        assert draw.points.tolist() == list(bits)
        chance = Bernoulli(logits=logit.detach()).log_prob(draw.points).sum().exp()
        total = total + chance * draw.combine((draw.points - 0.4).exp())
    exact = rp.expect(lambda b: (b - 0.4).exp(), Bernoulli(logits=logit), rp.Enumerate())
    for _ in range(3):
        torch.testing.assert_close(total, exact)
        if total.requires_grad:
            total, exact = (grad(v, logit, create_graph=True)[0] for v in (total, exact))


def test_alongside_trains_downhill_whatever_the_sign():
    """The value and its gradient pass; the objective's gradient has the size, not the sign."""
    for sign in (1.0, -1.0):
        value = torch.tensor([1.0, 2.0], requires_grad=True)
        objective = torch.tensor([5.0, 6.0], requires_grad=True)
        result = alongside(value, objective)
        assert torch.equal(result, value)
        gradients = grad(sign * (result * torch.tensor([3.0, 4.0])).sum(), [value, objective])
        assert gradients[0].tolist() == [3 * sign, 4 * sign]
        assert gradients[1].tolist() == [3, 4]


def test_alongside_vectorizes():
    """Under vmap, row by row as alone."""

    def loss(value: Tensor, objective: Tensor) -> Tensor:
        return -2 * alongside(value, objective)

    rows = torch.arange(3.0)
    gradients = torch.vmap(torch.func.grad(loss, (0, 1)))(rows, rows)
    assert gradients[0].tolist() == [-2, -2, -2]
    assert gradients[1].tolist() == [2, 2, 2]


def test_learnable_parts_are_the_fields_that_are_modules():
    """By name; their parameters are what an optimizer takes."""
    network = torch.nn.Linear(1, 1)
    baseline = Learned(network)
    assert rp.Score(baseline).modules() == {"baseline": baseline}
    assert list(rp.Score(baseline).parameters()) == list(network.parameters())
    for plain in (rp.Score(), rp.Rloo(), rp.GumbelSoftmax(0.5)):
        assert plain.modules() == {}
        assert list(plain.parameters()) == []


@pytest.mark.parametrize("name", rp.ESTIMATORS)
def test_estimators_are_frozen_and_state_their_claims(name):
    """Hyper-parameters do not change under a run; exact implies unbiased."""
    cls = rp.ESTIMATORS[name]
    assert {type(cls.unbiased), type(cls.exact), type(cls.pathwise)} == {bool}
    assert cls.unbiased or not cls.exact
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen


def test_draws_nest():
    """Two stochastic layers, the inner combine inside the outer cost: the exact joint gradient."""
    a, b, w = (torch.tensor(v, **DOUBLE, requires_grad=True) for v in (0.4, -0.7, 1.3))

    def cost(x: Tensor, y: Tensor) -> Tensor:
        return torch.sin(w * x + 2 * y) + x * y

    def outer(x: Tensor) -> Tensor:
        inner = rp.Enumerate().draw(Bernoulli(logits=b + x))
        return inner.combine(cost(x, inner.points))

    nested = rp.expect(outer, Bernoulli(logits=a), rp.Enumerate())
    joint = sum(
        torch.sigmoid((2 * x - 1) * a) * torch.sigmoid((2 * y - 1) * (b + x)) * cost(x, y)
        for x in torch.eye(2, **DOUBLE)[0]
        for y in torch.eye(2, **DOUBLE)[0]
    )
    torch.testing.assert_close(nested, joint)
    torch.testing.assert_close(grad(nested, [a, b, w]), grad(joint, [a, b, w]))


def test_pathwise_layers_nest_under_a_score_layer():
    """A continuous inner draw under a discrete outer one, on common noise: the exact gradient."""
    logit, loc = (torch.tensor(v, **DOUBLE, requires_grad=True) for v in (0.4, -0.7))
    noise = torch.full((1, 2), 0.5, **DOUBLE)

    def outer(b: Tensor) -> Tensor:
        inner = rp.Pathwise().draw(Normal(loc + b, 1.0), noise=noise)
        return inner.combine(inner.points**2)

    value = rp.expect(outer, Bernoulli(logits=logit), rp.Enumerate())
    p = torch.sigmoid(logit)
    truth = p * (loc + 1) ** 2 + (1 - p) * loc**2
    torch.testing.assert_close(grad(value, [logit, loc]), grad(truth, [logit, loc]))


def test_independent_turns_rows_into_one_point():
    """The fix that the message proposes works."""
    value = rp.expect(lambda points: points.sum(-1), Independent(q, 1), rp.Enumerate())
    torch.testing.assert_close(value, torch.full((2,), 1.5, **DOUBLE))
