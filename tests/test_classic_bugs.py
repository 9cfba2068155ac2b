"""A test of the tests: bugs that people really write, each of which a law must catch."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch.distributions import Bernoulli
from torch.nn.functional import softplus

import laws
import reparam as rp
from reparam.baselines import Baseline, MovingAverage
from reparam.core import Draw, Estimator, average, surrogate
from reparam.families import family, log_prob, sample, support
from reparam.families.bernoulli import BernoulliFamily
from reparam.noise import Noise
from reparam.problems.nodes import nodes


@dataclass(frozen=True)
class Buggy(Estimator):
    """A score-function estimator whose parts are meant to be replaced by wrong ones."""

    unbiased = True
    exact = False
    pathwise = False

    def _draw(self, q, n, noise):
        points = sample(q, n, noise)
        return Draw(points, lambda costs: self.combine(costs, log_prob(q, points)))

    def combine(self, costs, log_p):
        """The right way, for the control."""
        return surrogate(costs, log_p).mean(0)


class WrongSign(Buggy):
    """Ascends where it should descend."""

    def combine(self, costs, log_p):
        return surrogate(costs, -log_p).mean(0)


class CostNotAttached(Buggy):
    """Detaches the cost altogether: its own parameters get no gradient."""

    def combine(self, costs, log_p):
        return surrogate(costs.detach(), log_p).mean(0)


class ScoreNotDetached(Buggy):
    """f log p without stopping the gradient: the cost's parameters get log p times too much."""

    def combine(self, costs, log_p):
        return (costs + costs * log_p - (costs * log_p).detach()).mean(0)


class SummedNotAveraged(Buggy):
    """Adds up over the samples."""

    def combine(self, costs, log_p):
        return surrogate(costs, log_p).sum(0)


class ValueOfTheSurrogate(Buggy):
    """Returns f log p, whose gradient is right and whose value is not."""

    def combine(self, costs, log_p):
        return (costs.detach() * log_p).mean(0)


class MeanOfAllAsBaseline(Buggy):
    """Subtracts the mean over all samples, the sample's own cost included."""

    def combine(self, costs, log_p):
        return surrogate(costs, log_p, costs.detach().mean(0)).mean(0)


class BaselineNotDetached(Buggy):
    """A leave-one-out mean that carries gradient to the cost's parameters."""

    def combine(self, costs, log_p):
        others = (costs.sum(0) - costs) / (len(costs) - 1)
        return (costs + (costs - others) * (log_p - log_p.detach() + 1) - costs).mean(0)


class LogProbOfOnePart(Buggy):
    """Forgets to sum the log-probability over an Independent's parts."""

    def _draw(self, q, n, noise):
        points = sample(q, n, noise)
        f = family(q)
        log_p = f.base.log_prob(points)[..., 0] if q.event_shape else f.log_prob(points)
        return Draw(points, lambda costs: self.combine(costs, log_p))


class SharedNoise(Buggy):
    """Draws one row's noise for the whole batch."""

    def _draw(self, q, n, noise):
        f = family(q)
        one = f.perturb(n, noise)[:, :1] - f.logits[:1]
        points = f.hard(f.logits + one)
        return Draw(points, lambda costs: self.combine(costs, log_prob(q, points)))


class GlobalGenerator(Buggy):
    """Ignores `generator=`."""

    def _draw(self, q, n, noise):
        points = q.sample((n,))
        return Draw(points, lambda costs: self.combine(costs, log_prob(q, points)))


class UnweightedSupport(Buggy):
    """Enumerates with equal weights."""

    exact = True

    def _draw(self, q, n, noise):
        points = support(q)
        return Draw(points, lambda costs: surrogate(costs, log_prob(q, points)).mean(0))


@dataclass(frozen=True)
class PointsDetached(Buggy):
    """A relaxation that loses the gradient on the way."""

    pathwise = True

    def _draw(self, q, n, noise):
        f = family(q)
        return Draw(f.soft(f.perturb(n, noise), 1.0).detach(), average)


GRADIENT = laws.gradient_is_unbiased
COST_GRADIENT = laws.cost_gradient_is_unbiased


def test_control():
    """The parts of the bugs, put together rightly, keep the laws."""
    problem = rp.PROBLEMS["bits3"]()
    for law in (laws.value_is_unbiased, GRADIENT, COST_GRADIENT, laws.seed_decides):
        law(Buggy(), problem)
    laws.rows_are_independent(Buggy(), problem)


@pytest.mark.parametrize(
    ("bug", "law", "problem"),
    [
        (WrongSign(), GRADIENT, "bernoulli"),
        (CostNotAttached(), COST_GRADIENT, "bernoulli"),
        (ScoreNotDetached(), COST_GRADIENT, "bernoulli"),
        (ValueOfTheSurrogate(), laws.value_is_unbiased, "bernoulli"),
        (LogProbOfOnePart(), GRADIENT, "bits3"),
        (SharedNoise(), laws.rows_are_independent, "bits3"),
        (GlobalGenerator(), laws.seed_decides, "bits3"),
        (UnweightedSupport(), laws.gradient_is_exact, "categorical3"),
        (PointsDetached(), laws.gradient_lies_in_the_points, "bits3"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, Estimator) else None,
)
def test_law_catches(bug, law, problem):
    """The law that a bug breaks fails on it."""
    with pytest.raises(AssertionError):
        law(bug, rp.PROBLEMS[problem]())


@pytest.mark.parametrize(
    ("bug", "leaf"),
    [(MeanOfAllAsBaseline(), "logits"), (BaselineNotDetached(), "weight")],
    ids=str,
)
def test_law_catches_with_two_samples(monkeypatch, bug, leaf):
    """Bugs between samples show at n = 2."""
    monkeypatch.setattr(laws, "telling_n", lambda _: 2)
    law = GRADIENT if leaf == "logits" else COST_GRADIENT
    law(rp.Rloo(), rp.PROBLEMS["bernoulli"]())
    with pytest.raises(AssertionError):
        law(bug, rp.PROBLEMS["bernoulli"]())


def test_law_catches_sum_over_samples(monkeypatch):
    """A sum in place of a mean shows at n = 2, in the value."""
    monkeypatch.setattr(laws, "telling_n", lambda _: 2)
    with pytest.raises(AssertionError):
        laws.value_is_unbiased(SummedNotAveraged(), rp.PROBLEMS["bernoulli"]())


class CurrentCostIncluded(MovingAverage):
    """Moves before it answers, so that the baseline knows the cost it is subtracted from."""

    def forward(self, costs, q):
        super().forward(costs, q)
        return (self.total / self.weight).to(costs)


@pytest.mark.parametrize(
    ("baseline", "right"), [(MovingAverage(0.5), True), (CurrentCostIncluded(0.5), False)], ids=str
)
def test_moving_average_looks_back(baseline, right):
    """A moving average that includes the current cost biases the gradient: draws one by one."""
    gradient = one_by_one(baseline)
    truth = torch.tensor(0.025, dtype=torch.float64)
    assert torch.allclose(gradient, truth, rtol=1e-9, atol=0) is right


def one_by_one(baseline: Baseline):
    """E[gradient] of (b - .45)^2 at logit 0, each outcome a draw of its own from one state."""
    logit = torch.zeros((), dtype=torch.float64, requires_grad=True)
    baseline(torch.tensor([0.7], dtype=torch.float64), None)
    total = 0.0
    for u in (0.25, 0.75):
        estimator = rp.Score(copy.deepcopy(baseline))
        noise = torch.tensor([u], dtype=torch.float64)
        draw = estimator.draw(Bernoulli(logits=logit), noise=noise)
        value = draw.combine((draw.points - 0.45) ** 2)
        total = total + 0.5 * torch.autograd.grad(value, logit)[0]
    return total


class SwappedCondition(BernoulliFamily):
    """Noise for the other outcome: the sign of the outcome is lost in the middle term."""

    def condition(self, points, noise):
        sign = 2 * points - 1
        logistic = noise.logistic(len(points), self.logits)
        return sign * softplus(logistic + softplus(-sign * self.logits))


def test_law_catches_swapped_conditional_noise():
    """Conditional noise of the wrong outcome does not marginalize to the prior's law.

    By quadrature: E over outcomes and conditional noise of sigmoid(z) must be E of sigmoid(z)
    over the unconditioned z.
    """
    q = Bernoulli(logits=torch.tensor(0.8, dtype=torch.float64))
    assert marginal_gap(BernoulliFamily(q), q) < 1e-6
    assert marginal_gap(SwappedCondition(q), q) > 1e-2


def marginal_gap(f, q):
    """|E sigmoid(z) by conditioning - E sigmoid(z) directly|, by a midpoint rule in u."""
    u = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    direct = torch.sigmoid(f.perturb(len(u), Noise(uniforms=u))).mean()
    conditioned = sum(
        q.log_prob(b).exp() * torch.sigmoid(f.condition(b.expand(len(u)), Noise(uniforms=u))).mean()
        for b in (torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))
    )
    return (direct - conditioned).abs()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda h, y: h - y + y.detach(),
        lambda h, y: h.detach() - y + y,
        lambda h, y: h,
        lambda h, y: y - h.detach() + h,
        lambda h, y: h - y.detach() + 2 * y,
    ],
    ids=["sign", "cancelled", "hard alone", "value of soft", "doubled"],
)
def test_wrong_straight_through(wrong):
    """The five wrong straight-through lines of the field differ from ours in value or gradient."""
    logits = torch.tensor([0.3, -0.4, 0.9], dtype=torch.float64, requires_grad=True)
    soft = torch.softmax(logits, 0)
    hard = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    assert vjp(rp.functional.straight_through(hard, soft), hard, soft, logits)
    assert not vjp(wrong(hard, soft), hard, soft, logits)


def vjp(points, hard, soft, logits):
    """Whether the value is the hard one and the gradient the soft one."""
    if not torch.allclose(points, hard, rtol=0, atol=1e-12) or not points.requires_grad:
        return False
    direction = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    got, truth = (
        torch.autograd.grad((t * direction).sum(), logits, retain_graph=True)[0]
        for t in (points, soft)
    )
    return torch.allclose(got, truth)


class WrongDisarmSign(rp.Disarm):
    """DisARM with the sign of the other bit."""

    def _draw(self, q, n, noise):
        points, combine = super()._draw(q, n, noise)
        first, second = points.chunk(2)
        return Draw(torch.cat([second, first]), combine)


class SwappedRebar(rp.Rebar):
    """REBAR whose fresh relaxation is conditioned on the other outcome."""

    def _draw(self, q, n, noise):
        original = BernoulliFamily.condition
        try:
            BernoulliFamily.condition = SwappedCondition.condition
            return super()._draw(q, n, noise)
        finally:
            BernoulliFamily.condition = original


@pytest.mark.parametrize("bug", [WrongDisarmSign(), SwappedRebar()], ids=lambda b: type(b).__name__)
def test_law_catches_wrong_coupling(monkeypatch, bug):
    """Coupled samples and conditional noise of the wrong sign bias the gradient."""
    problem = rp.PROBLEMS["bernoulli"]()
    right = type(bug).__mro__[1]()
    GRADIENT(right, problem)
    # Go through the right estimator's nodes: they say what the noise decides.
    monkeypatch.setattr(laws, "nodes", lambda _, q, n: nodes(right, q, n))
    with pytest.raises(AssertionError):
        GRADIENT(bug, problem)


class DifferentiatedGumbelRao(rp.GumbelRao):
    """Gumbel-Rao that also differentiates the conditional perturbation."""

    def _draw(self, q, n, noise):
        f = family(q)
        first, *others = noise.split(1 + self.k)
        hard = f.hard(f.perturb(n, first))
        soft = sum(f.soft(f.condition(hard, v), self.tau) for v in others) / self.k
        return Draw(rp.functional.straight_through(hard, soft), average)


def test_law_catches_differentiated_condition(monkeypatch):
    """Gumbel-Rao has straight-through Gumbel-Softmax's mean; differentiating too much loses it."""
    problem = rp.PROBLEMS["bernoulli"]()
    right = rp.GumbelRao(k=1)
    truth = laws.expected(rp.StraightThroughGumbelSoftmax(), problem, 1)["logits"]
    got = laws.expected(right, problem, 1)["logits"]
    torch.testing.assert_close(got, truth, rtol=1e-3, atol=1e-5)
    monkeypatch.setattr(laws, "nodes", lambda _, q, n: nodes(right, q, n))
    wrong = laws.expected(DifferentiatedGumbelRao(k=1), problem, 1)["logits"]
    assert not torch.allclose(wrong, truth, rtol=1e-2, atol=1e-4)


@dataclass(frozen=True)
class SharedRelaxedNoise(rp.GumbelSoftmax):
    """A relaxation that draws one row's noise for the whole batch."""

    def _draw(self, q, n, noise):
        f = family(q)
        one = f.perturb(n, noise)[:, :1] - f.logits[:1]
        return Draw(f.soft(f.logits + one, self.tau), average)


def test_law_catches_shared_relaxed_noise():
    """Relaxed points with one noise for all rows are the same in equal rows."""
    laws.rows_are_independent(rp.GumbelSoftmax(), rp.PROBLEMS["bits3"]())
    with pytest.raises(AssertionError):
        laws.rows_are_independent(SharedRelaxedNoise(), rp.PROBLEMS["bits3"]())
