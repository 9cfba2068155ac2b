"""Straight-through distributions: hard points, soft gradients, and the density of what is soft."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import Independent, kl_divergence

from acceptance import assert_counts, seeded
from reparam.distributions import (
    RelaxedBernoulli,
    RelaxedBernoulliStraightThrough,
    RelaxedOneHotCategorical,
    RelaxedOneHotCategoricalStraightThrough,
)
from reparam.distributions.relaxed import kept
from reparam.noise import Noise

PAIRS = [
    (RelaxedBernoulliStraightThrough, RelaxedBernoulli),
    (RelaxedOneHotCategoricalStraightThrough, RelaxedOneHotCategorical),
]
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
every_pair = pytest.mark.parametrize(("hard", "soft"), PAIRS, ids=["bernoulli", "categorical"])
every_kind = pytest.mark.parametrize("kind", [hard for hard, _ in PAIRS])
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def source(seed=0):
    """Noise of its own."""
    return Noise(seeded(seed))


def logits(dtype=torch.float64):
    """Logits of two rows and three classes, or of as many Bernoullis."""
    return torch.randn(2, 3, generator=seeded(1)).to(dtype).requires_grad_()


@every_pair
@every_dtype
@pytest.mark.parametrize("t", [1.0, 0.01])
def test_points_are_hard_and_gradients_soft(hard, soft, dtype, t):
    """In every dtype: the value of the support, the gradient of the relaxed sample, bit for bit."""
    a = logits(dtype)
    tau = torch.tensor(t, dtype=dtype, requires_grad=True)
    points, y = (kind(tau, logits=a).rsample((50,), source()) for kind in (hard, soft))
    assert points.dtype == dtype
    assert bool(hard(tau, logits=a).support.check(points).all())
    if hard is RelaxedBernoulliStraightThrough:
        assert torch.equal(points, (kept(y) > 0).to(dtype))
    else:
        assert bool((points * y).sum(-1).eq(y.amax(-1)).all())
    weight = torch.randn(y.shape, generator=seeded(2)).to(dtype)
    slopes = [torch.autograd.grad((v * weight).sum(), [a, tau]) for v in (points, y)]
    assert slopes[0][0].isfinite().all()
    assert all(torch.equal(*pair) for pair in zip(*slopes, strict=True))


@every_pair
def test_the_density_is_that_of_the_soft_sample_through_copies(hard, soft):
    """As it is, cloned, detached, viewed, indexed and under Independent; with its gradient."""
    a = logits()
    q, relaxed = hard(0.05, logits=a), soft(0.05, logits=a)
    points, y = (kind.rsample((5,), source()) for kind in (q, relaxed))
    true = relaxed.log_prob(y)
    for same in (points, points.clone(), points.detach(), points.view(5, 1, 2, 3)[:, 0]):
        assert torch.equal(q.log_prob(same), true)
    assert torch.equal(q.log_prob(points.clone()[3]), true[3])
    assert torch.equal(Independent(q, 1).log_prob(points), Independent(relaxed, 1).log_prob(y))
    slopes = [torch.autograd.grad(v.sum(), a)[0] for v in (q.log_prob(points.clone()), true)]
    assert torch.equal(*slopes)
    log = q.log_rsample((5,), source())
    assert torch.equal(q.log_prob_of_log(log), true)


@every_kind
def test_a_hard_value_alone_has_no_density(kind):
    """After arithmetic, a cast, saving or torch.func; soft values are outside the support."""
    q = kind(0.5, logits=logits(), validate_args=True)
    points = q.rsample()
    for lost in (points + 0, points.float(), points.as_subclass(Tensor)):
        with pytest.raises(ValueError, match=r"expected a sample that keeps its soft value, got a"):
            q.log_prob(lost)
    with pytest.raises(ValueError, match="keeps its soft value"):
        torch.func.vmap(q.log_prob)(points[None])
    with pytest.raises(ValueError, match="within the support"):
        q.log_prob(torch.full((2, 3), 1 / 3))


@every_kind
def test_the_outcomes_follow_the_discrete_law(kind):
    """Chi-square over 1e5 draws, false fail 1e-7: at any temperature the argmax is exact."""
    p = torch.tensor([0.5, 0.3, 0.2])
    points = kind(3.0, probs=p).sample((100_000,))
    assert not points.requires_grad
    ones = points.sum(0)
    if kind is RelaxedBernoulliStraightThrough:
        assert_counts(torch.stack([ones, 100_000 - ones], -1), torch.stack([p, 1 - p], -1))
    else:
        assert_counts(ones, p)


@every_pair
def test_the_rest_of_the_protocol_is_the_relaxed_ones(hard, soft):
    """Shapes, expand, masks, moments, and sources of noise."""
    a, mask = logits(), torch.tensor([True, False, True])
    q, relaxed = (kind(0.3, logits=a, mask=mask) for kind in (hard, soft))
    assert q.has_rsample
    assert not q.has_enumerate_support
    assert (q.batch_shape, q.event_shape) == (relaxed.batch_shape, relaxed.event_shape)
    assert q.sample((500,))[..., 1].eq(0).all()
    assert torch.equal(q.entropy(), relaxed.entropy())
    other = soft(0.3, logits=torch.zeros(2, 3).double(), mask=mask)
    assert torch.equal(kl_divergence(q, other), kl_divergence(relaxed, other))
    wide = q.expand((4, *q.batch_shape))
    assert type(wide) is hard
    points = wide.rsample((6,))
    assert points.shape == (6, 4, 2, 3)
    assert wide.log_prob(points.clone()).shape == (6, 4, *q.batch_shape)
    first, second = (q.rsample((4,), source(3)) for _ in range(2))
    assert torch.equal(first, second)
    keyed = [q.rsample((4,), Noise(key=k)) for k in (1, 1, 2)]
    assert torch.equal(keyed[0], keyed[1])
    assert not torch.equal(keyed[0], keyed[2])


@every_kind
def test_densities_have_the_gradients_of_finite_differences(kind):
    """Of the pair that torch.func and torch.compile take, log_rsample and log_prob_of_log."""
    u = torch.rand(4, 2, 3, generator=seeded(2)).double()

    def density(a: Tensor, t: Tensor) -> Tensor:
        q = kind(t, logits=a)
        return q.log_prob_of_log(q.log_rsample((4,), Noise(uniforms=u)))

    assert gradcheck(density, (logits(), torch.tensor(0.4).double().requires_grad_()))
