"""The six primitives of every discrete family, held against torch's log_prob and closed forms."""

import re

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    Normal,
    OneHotCategorical,
    Poisson,
)

from acceptance import assert_counts, seeded
from family_cases import CASES, every_case, every_relaxable, set_logits
from reparam.families import BernoulliFamily, CategoricalFamily, family, support
from reparam.families import log_prob as library_log_prob
from reparam.noise import Noise

INF = float("inf")
HALVES = [torch.float16, torch.bfloat16]


def which(points: Tensor, q: Distribution) -> Tensor:
    """The index in the support of every point: `(n, *batch)`."""
    event = tuple(range(1 + points.ndim - len(q.event_shape), points.ndim + 1))
    same = points.unsqueeze(0) == support(q).unsqueeze(1)
    return (same.all(event) if event else same).int().argmax(0)


@every_case
def test_perturbed_outcomes_have_the_probabilities_of_q(name):
    """Chi-square over the support, 1e5 draws a row; false fail 1e-7.

    A probability of .1 that is wrong by 15 % of itself passes below 1e-8; parts
    that share noise are further off.
    """
    q = CASES[name]
    f = family(q)
    points = f.hard(f.perturb(100_000, Noise(seeded(1))))
    size = len(support(q))
    counts = torch.stack([(which(points, q) == s).sum(0) for s in range(size)], -1)
    assert_counts(counts, q.log_prob(support(q)).exp().movedim(0, -1))


@every_case
def test_log_prob_and_support_are_torchs(name):
    """Every outcome once, with torch's own log-probability, which sum to one."""
    q = CASES[name]
    outcomes = support(q)
    assert outcomes.shape[1:] == (*q.batch_shape, *q.event_shape)
    assert len(outcomes.unique(dim=0)) == len(outcomes)
    torch.testing.assert_close(library_log_prob(q, outcomes), q.log_prob(outcomes))
    total = library_log_prob(q, outcomes).exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("name", ["bernoulli", "onehot", "index"])
def test_support_has_torchs_order(name):
    """As enumerate_support lists it."""
    assert torch.equal(support(CASES[name]), CASES[name].enumerate_support())


def test_an_independent_support_runs_through_its_last_part_fastest():
    """As binary numbers count; parts keep their layout."""
    q = Independent(Bernoulli(logits=torch.zeros(5, 2, 2)), 2)
    numbers = (support(q).flatten(2) @ torch.tensor([8.0, 4, 2, 1])).T
    assert torch.equal(numbers, torch.arange(16.0).expand(5, 16))


@every_relaxable
def test_independent_parts_are_the_base_family(name):
    """Independent regroups dimensions; noise, outcome and relaxation are the base's own."""
    q = CASES[name]
    base = q
    while isinstance(base, Independent):
        base = base.base_dist
    f, g = family(q), family(base)
    z = f.perturb(5, Noise(seeded(1)))
    assert z.shape == (5, *f.logits.shape)
    assert torch.equal(z, g.perturb(5, Noise(seeded(1))))
    assert torch.equal(f.hard(z), g.hard(z))
    assert torch.equal(f.soft(z, 0.5), g.soft(z, 0.5))
    trace = f.trace(z)
    assert torch.equal(trace, g.trace(z))
    assert torch.equal(f.outcome(trace), f.hard(z))
    conditioned = f.condition(trace, Noise(seeded(2)))
    assert torch.equal(conditioned, g.condition(trace, Noise(seeded(2))))
    each = g.trace_log_prob(trace)
    parts = tuple(range(1 + len(q.batch_shape), each.ndim))
    torch.testing.assert_close(f.trace_log_prob(trace), each.sum(parts) if parts else each)


def test_soft_points_are_the_tempered_argmax():
    """softmax(z / tau) and sigmoid(z / tau); the hard point as tau -> 0."""
    for name, squash in (("onehot", lambda z: torch.softmax(z, -1)), ("bernoulli", torch.sigmoid)):
        f = family(CASES[name])
        z = f.perturb(6, Noise(seeded(0)))
        torch.testing.assert_close(f.soft(z, 0.5), squash(z / 0.5))
        torch.testing.assert_close(f.soft(z, 1e-12), f.hard(z))


@pytest.mark.parametrize("name", ["bernoulli", "onehot"])
def test_noise_moves_with_the_logits_one_to_one(name):
    """dz/dlogit is 1 for every |logit| <= 1e4: no probability clamp kills it."""
    values = torch.tensor([-1e4, -500.0, -17, 0, 17, 500, 1e4], requires_grad=True)
    kinds = {"bernoulli": BernoulliFamily(Bernoulli(logits=values))}
    kinds["onehot"] = CategoricalFamily(OneHotCategorical(logits=values))
    f = kinds[name]
    z = f.perturb(1, Noise(seeded(0)))[0]
    jacobian = torch.stack(
        [torch.autograd.grad(z[i], values, retain_graph=True)[0] for i in range(7)]
    )
    expected = torch.eye(7)
    if name == "onehot":  # torch normalizes the logits
        expected = expected - torch.softmax(values, -1)
    torch.testing.assert_close(jacobian, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", [Bernoulli, OneHotCategorical])
def test_extreme_logits_stay_finite_in_every_primitive(kind):
    """Values and gradients at +-1e4, for every outcome, likely or not."""
    values = torch.tensor([[-1e4, 1e4, 0.0, 3e3], [1e4, 1e4, 1e4, -1e4]], requires_grad=True)
    q = kind(logits=values)
    f = family(q)
    points = support(q)
    z = f.perturb(len(points), Noise(seeded(0)))
    conditioned = f.condition(points, Noise(seeded(1)))
    assert torch.equal(f.hard(conditioned), points)
    for value in (z, f.soft(z, 0.1), conditioned, f.soft(conditioned, 0.1), f.log_prob(points)):
        assert value.isfinite().all()
        assert torch.autograd.grad(value.sum(), values, retain_graph=True)[0].isfinite().all()


def test_an_excluded_class_is_never_drawn_and_leaves_finite_gradients():
    """A logit of -inf: no mass, z = -inf, soft 0, and no NaN in any gradient."""
    values = torch.tensor([0.5, -INF, 0.0], requires_grad=True)
    q = OneHotCategorical(logits=values)
    f = family(q)
    z = f.perturb(1000, Noise(seeded(0)))
    points = f.hard(z)
    assert points[:, 1].sum() == 0
    conditioned = f.condition(points, Noise(seeded(1)))
    assert torch.equal(f.hard(conditioned), points)
    for noisy in (z, conditioned):
        assert (noisy[:, 1] == -INF).all()
        soft = f.soft(noisy, 0.5)
        assert (soft[:, 1] == 0).all()
        loss = (soft * torch.arange(3)).sum() + f.log_prob(points).sum()
        assert torch.autograd.grad(loss, values, retain_graph=True)[0].isfinite().all()
    assert f.log_prob(torch.eye(3))[1] == -INF


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ["bernoulli", "onehot", "bernoullis", "onehots"])
def test_half_precision_computes_in_float32(name, dtype):
    """z, conditional z and log-probabilities equal those of the same logits in float32."""
    halved = family(CASES[name])
    set_logits(halved, halved.logits.to(dtype))
    wide = family(CASES[name])
    set_logits(wide, halved.logits.float())
    z = halved.perturb(50, Noise(seeded(1)))
    assert z.dtype == torch.float32
    assert torch.equal(z, wide.perturb(50, Noise(seeded(1))))
    points = halved.hard(z)
    assert points.dtype == halved.soft(z, 0.5).dtype == dtype
    conditioned = halved.condition(points, Noise(seeded(2)))
    assert torch.equal(conditioned, wide.condition(points.float(), Noise(seeded(2))))
    assert torch.equal(halved.log_prob(points), wide.log_prob(points.float()))


@pytest.mark.parametrize("name", ["index", "indices"])
def test_an_index_has_no_relaxation(name):
    """The message names the one-hot distribution to use instead."""
    f = family(CASES[name])
    z = f.perturb(2, Noise(seeded(0)))
    with pytest.raises(TypeError, match=re.escape("use OneHotCategorical(logits=q.logits)")):
        f.soft(z, 0.5)
    with pytest.raises(TypeError, match="expected one-hot points to relax"):
        f.condition(f.hard(z), Noise(seeded(0)))


@pytest.mark.parametrize(
    ("q", "name"),
    [
        (Normal(0.0, 1.0), "Normal"),
        (Independent(Normal(torch.zeros(2), 1.0), 1), "Independent(Normal)"),
        (Poisson(3.0), "Poisson"),
    ],
)
def test_other_distributions_have_no_family(q, name):
    """The message says what was given, and which estimators serve it."""
    kind = re.escape(name.removeprefix("Independent(").removesuffix(")"))
    with pytest.raises(TypeError, match=f"got {kind}; 'pathwise', 'score' and 'rloo'"):
        family(q)
    with pytest.raises(TypeError, match=f"finite support, got {re.escape(name)}; use 'score'"):
        support(q)


@pytest.mark.parametrize(
    "q",
    [
        Independent(Bernoulli(logits=torch.zeros(21)), 1),
        Independent(OneHotCategorical(logits=torch.zeros(9, 5)), 1),
        OneHotCategorical(logits=torch.zeros(2**20 + 1)),
        Categorical(logits=torch.zeros(2**20 + 1)),
    ],
)
def test_a_support_that_does_not_fit_is_refused(q):
    """Before any memory is taken for it."""
    with pytest.raises(ValueError, match="at most 1,048,576 outcomes to enumerate, got"):
        support(q)
