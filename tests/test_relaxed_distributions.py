"""Relaxed Bernoulli and one-hot categorical: densities that hold where the samples saturate."""

import copy
import math
import pickle

import mpmath as mp
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import Independent

from acceptance import assert_counts, assert_follows, seeded
from reparam import Pathwise
from reparam.distributions import RelaxedBernoulli, RelaxedOneHotCategorical
from reparam.distributions.relaxed import kept
from reparam.families import reparameterize
from reparam.noise import Noise

INF = math.inf
DOUBLE = {"dtype": torch.float64}
KL = 2 / math.tanh(1) - 2
CLASHING = {"temperature": torch.ones(3), "logits": torch.ones(2, 3)}
every_temperature = pytest.mark.parametrize("t", [1.0, 0.5, 0.2, 0.1, 0.05, 0.01])
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def source(seed=0):
    """Noise of its own."""
    return Noise(seeded(seed))


def plain(points):
    """The same values, with nothing kept."""
    return points.as_subclass(Tensor)


def true_binary(t, a, x):
    """Maddison et al. 2017, appendix B, at the logit x of y: symmetric in y and 1 - y."""
    y, z = 1 / (1 + mp.exp(-x)), 1 / (1 + mp.exp(x))
    return mp.log(t * mp.exp(a) * (y * z) ** (-t - 1) / (mp.exp(a) * y**-t + z**-t) ** 2)


def true_categorical(t, logits, logs):
    """Maddison et al. 2017, definition 1, at log y."""
    k, pairs = len(logits), list(zip(logits, logs, strict=True))
    top = mp.factorial(k - 1) * t ** (k - 1) * mp.fprod(mp.exp(a - (t + 1) * x) for a, x in pairs)
    return mp.log(top / mp.fsum(mp.exp(a - t * x) for a, x in pairs) ** k)


@every_temperature
def test_the_densities_of_own_samples_are_mpmaths(t):
    """In float32, the error is below 1e-3 nats, saturated or not."""
    b = RelaxedBernoulli(t, logits=2.0)
    c = RelaxedOneHotCategorical(t, logits=torch.tensor([2.0, 0.0, -1.0]))
    with mp.workdps(50):
        exact_t = mp.mpf(b.temperature.item())
        y = b.rsample((100,), source())
        true = [true_binary(exact_t, 2, mp.mpf(x)) for x in kept(y).tolist()]
        assert max(abs(p - q) for p, q in zip(b.log_prob(y).tolist(), true, strict=True)) < 1e-3
        y = c.rsample((100,), source())
        rows = [[mp.mpf(x) for x in row] for row in kept(y).tolist()]
        true = [true_categorical(exact_t, c.logits.tolist(), row) for row in rows]
        assert max(abs(p - q) for p, q in zip(c.log_prob(y).tolist(), true, strict=True)) < 1e-3


@every_temperature
def test_the_binary_density_integrates_to_one(t):
    """By the trapezoidal rule in the logit x, where dy = y (1 - y) dx; exponentially accurate."""
    x = torch.arange(-60, 60, 0.05, **DOUBLE) / t
    q = RelaxedBernoulli(t, logits=torch.tensor(0.7, **DOUBLE))
    dy = torch.nn.functional.logsigmoid(x) + torch.nn.functional.logsigmoid(-x)
    total = (q.log_prob_of_log(x) + dy).exp().sum() * 0.05 / t
    assert total.item() == pytest.approx(1, abs=1e-10)


def test_the_density_of_three_classes_integrates_to_one():
    """At T = 1, by the rule in two log-ratios, where dy = y1 y2 y3 dx; of plain points."""
    x = torch.arange(-40, 40, 0.25, **DOUBLE)
    ratios = torch.cartesian_prod(x, x)
    y = torch.softmax(torch.nn.functional.pad(ratios, (0, 1)), -1)
    q = RelaxedOneHotCategorical(1.0, logits=torch.tensor([0.5, -1.0, 0.2], **DOUBLE))
    total = (q.log_prob(y) + y.log().sum(-1)).exp().sum() * 0.25**2
    assert total.item() == pytest.approx(1, abs=1e-9)


@every_temperature
def test_two_classes_are_the_binary(t):
    """At plain points and in log space, with and without the reduction."""
    a = torch.tensor([1.5, -0.3], **DOUBLE)
    c, b = RelaxedOneHotCategorical(t, logits=a), RelaxedBernoulli(t, logits=a[0] - a[1])
    y = torch.linspace(0.01, 0.99, 50, **DOUBLE)
    torch.testing.assert_close(c.log_prob(torch.stack([y, 1 - y], -1)), b.log_prob(y))
    x = b.log_rsample((50,), source())
    logs = -torch.nn.functional.softplus(torch.stack([-x, x], -1))
    torch.testing.assert_close(c.log_prob_of_log(logs), b.log_prob_of_log(x))


@every_temperature
def test_monte_carlo_finds_the_divergence(t):
    """1e6 draws of a fixed seed: within 3 s.e., which another seed leaves at rate .0027.

    Passes wrongly at that rate where off by 6 s.e., .009; midpoint noise, without chance, by 1e-3.
    """
    q, p = RelaxedBernoulli(t, logits=2.0), RelaxedBernoulli(t, logits=0.0)
    assert torch.distributions.kl_divergence(q, p).item() == pytest.approx(KL, abs=1e-6)
    y = q.rsample((10**6,), source(1))
    ratios = (q.log_prob(y) - p.log_prob(y)).double()
    assert abs(ratios.mean().item() - KL) < 3 * ratios.std().item() / 1e3
    u = (torch.arange(10**5, **DOUBLE) + 0.5) / 10**5
    y = q.rsample((10**5,), Noise(uniforms=u))
    assert (q.log_prob(y) - p.log_prob(y)).mean().item() == pytest.approx(KL, abs=1e-3)


def test_the_divergence_is_exact_at_every_distance():
    """Relative error 1e-14 from 1e-8 to 1e3, in float64, with exact slopes; broadcast."""
    d = torch.tensor([1e-8, 1e-3, 0.5, 1.99, 2.0, 2.01, 10.0, 1e3], **DOUBLE, requires_grad=True)
    p = RelaxedBernoulli(0.1, logits=torch.zeros(1, **DOUBLE))
    got = RelaxedBernoulli(0.1, logits=d).kl_divergence(p)
    slopes = torch.autograd.grad(got.sum(), d)[0]
    with mp.workdps(50):
        halves = [mp.mpf(x) / 2 for x in d.tolist()]
        true = [float(2 * x * mp.coth(x) - 2) for x in halves]
        true_slopes = [float(mp.coth(x) - x * mp.csch(x) ** 2) for x in halves]
    assert got.tolist() == pytest.approx(true, rel=1e-14, abs=0)
    assert slopes.tolist() == pytest.approx(true_slopes, rel=1e-13, abs=0)


def test_the_divergence_at_the_edges():
    """Zero at no distance, with zero slope; infinite where one is sure; refused otherwise."""
    a = torch.tensor([0.0, INF, INF, 0.0], requires_grad=True)
    b = RelaxedBernoulli(0.5, logits=torch.tensor([0.0, INF, 0.0, -INF]))
    got = RelaxedBernoulli(0.5, logits=a).kl_divergence(b)
    assert got.tolist() == [0, 0, INF, INF]
    assert torch.autograd.grad(got.sum(), a)[0].tolist() == [0, 0, 0, 0]
    with pytest.raises(NotImplementedError, match="RelaxedBernoulli of one temperature"):
        RelaxedBernoulli(0.4, logits=0.0).kl_divergence(b)
    for q in (b, RelaxedOneHotCategorical(1.0, logits=torch.zeros(3))):
        for moment in (type(q).mean.fget, type(q).variance.fget):
            with pytest.raises(NotImplementedError):
                moment(q)


@every_dtype
@pytest.mark.parametrize("t", [1.0, 0.1, 0.01])
@pytest.mark.parametrize(("k", "n"), [(3, 1000), (1000, 1000), (50000, 20)])
def test_samples_are_on_the_simplex_and_have_a_density(dtype, t, k, n):
    """In every one of n draws, also for plain copies; a wrong sum is noticed."""
    q = RelaxedOneHotCategorical(t, logits=torch.randn(k, generator=seeded(1)).to(dtype))
    y = q.rsample((n,), source())
    assert y.dtype == dtype
    assert bool(q.support.check(y).all())
    assert not q.log_prob(y).isnan().any()
    assert not q.log_prob(plain(y)).isnan().any()
    off = 0.99 - 3 * torch.finfo(dtype).eps
    assert not q.support.check(plain(y) * off).any()


@every_dtype
def test_the_sampled_classes_and_logits_follow_the_law(dtype):
    """Chi-square, 1e5 draws, and KS of the logits: each false fail 1e-7, also in half precision."""
    p = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=dtype)
    y = RelaxedOneHotCategorical(0.5, probs=p).rsample((100000,), source())
    assert_counts(y.argmax(-1).bincount(minlength=4), p)
    x = RelaxedBernoulli(0.1, logits=torch.tensor(2.0, dtype=dtype)).log_rsample((10**5,), source())
    assert_follows(x * 0.1 - 2.0, lambda z: 1 / (1 + torch.from_numpy(-z).exp()))


def test_minus_infinity_excludes_a_class():
    """The sample is 0 there, the density and its gradients are the other classes'."""
    a = torch.tensor([0.3, -INF, 1.0, -2.0], **DOUBLE, requires_grad=True)
    t = torch.tensor(0.3, **DOUBLE, requires_grad=True)
    masked, rest = (RelaxedOneHotCategorical(t, logits=v) for v in (a, a[[0, 2, 3]]))
    y = masked.rsample((20,), source())
    assert y[:, 1].eq(0).all()
    for points in (y, plain(y)):
        got, wanted = masked.log_prob(points), rest.log_prob(points[:, [0, 2, 3]])
        torch.testing.assert_close(got, wanted)
        slopes = [torch.autograd.grad(v.sum(), [a, t], retain_graph=True) for v in (got, wanted)]
        torch.testing.assert_close(*slopes)
    assert masked.log_prob(torch.full((4,), 0.25, **DOUBLE)) == -INF
    one = RelaxedOneHotCategorical(t, probs=torch.tensor([0.0, 1.0], **DOUBLE))
    assert one.log_prob(torch.tensor([0.0, 1.0])) == one.log_prob(one.rsample()) == 0
    sure = RelaxedBernoulli(t, probs=torch.tensor([0.0, 1.0], **DOUBLE))
    assert sure.rsample().tolist() == [0, 1]
    assert sure.log_prob(torch.tensor([[0.0, 1.0], [0.5, 0.5]])).tolist() == [[0, 0], [-INF, -INF]]


@pytest.mark.parametrize("kind", [RelaxedBernoulli, RelaxedOneHotCategorical])
def test_gradients_are_those_of_finite_differences(kind):
    """Of densities in value, logits and temperature; of log-space samples at fixed noise."""
    a = torch.tensor([0.3, -1.0, 2.0], **DOUBLE, requires_grad=True)
    t = torch.tensor(0.4, **DOUBLE, requires_grad=True)
    x = kind(t, logits=a).log_rsample((4,), source()).detach().requires_grad_()
    u = torch.rand(4, 3, **DOUBLE, generator=seeded(2))

    def q(a, t):
        return kind(t, logits=a, validate_args=False)

    assert gradcheck(lambda x, a, t: q(a, t).log_prob_of_log(x), (x, a, t))
    y = torch.rand(4, 3, **DOUBLE, generator=seeded(3)).softmax(-1).requires_grad_()
    assert gradcheck(lambda y, a, t: q(a, t).log_prob(y), (y, a, t))
    assert gradcheck(lambda p, t: kind(t, probs=p.softmax(-1)).log_prob(y.detach()), (a, t))
    for name in ("log_rsample", "rsample"):
        assert gradcheck(lambda a, t, n=name: getattr(q(a, t), n)((4,), Noise(uniforms=u)), (a, t))


def test_the_gradient_lives_at_extreme_logits():
    """In logit space dz/dlogit is 1 up to 1e4, and equal logits of 1e8 share alike."""
    a = torch.tensor([-1e4, -17.0, 0.0, 17.0, 1e4], requires_grad=True)
    z = RelaxedBernoulli(0.1, logits=a).log_rsample((), source()) * 0.1
    assert torch.autograd.grad(z.sum(), a)[0].tolist() == pytest.approx([1] * 5, abs=1e-3)
    y = RelaxedOneHotCategorical(1.0, logits=torch.full((4,), 1e8)).rsample((10**5,), source())
    assert_counts(y.argmax(-1).bincount(minlength=4), torch.full((4,), 0.25))


def test_what_a_sample_keeps_and_forgets():
    """Copies and views keep the log-space value; arithmetic, writing and saving do not."""
    q = RelaxedBernoulli(0.05, logits=torch.randn(4, 3, generator=seeded(0), requires_grad=True))
    y = q.rsample((5,), source())
    for same in (y.clone(), torch.clone(y), y.detach(), y.view(5, 12).reshape(y.shape)):
        assert torch.equal(kept(same), kept(y))
    assert torch.equal(kept(y.clone()[2:].reshape(3, 12)), kept(y)[2:].reshape(3, 12))
    assert torch.equal(q.log_prob(y[3].clone()), q.log_prob(y)[3])
    views = [y.select(0, 1), y.narrow(0, 1, 3), *y.unbind(), *y.split(2), *torch.chunk(y, 2), *y]
    for view in views:
        torch.testing.assert_close(torch.sigmoid(kept(view)), plain(view))
    assert torch.equal(torch.stack([q.log_prob(row) for row in y]), q.log_prob(y))
    independent = Independent(q, 2)
    assert torch.equal(independent.log_prob(y.clone()), q.log_prob(y).sum((-1, -2)))
    leaf, written = y.detach().requires_grad_(), y.detach().clone()
    written.mul_(0.5)
    saved = pickle.loads(pickle.dumps(y.detach()))  # noqa: S301 (its own)
    for lost in (leaf, written, y + 0, y.half(), saved, copy.deepcopy(y.detach())):
        assert kept(lost) is None
    assert torch.equal(saved, y)
    assert torch.autograd.grad(q.log_prob(leaf).sum(), leaf)[0].isfinite().all()
    assert torch.equal(torch.func.vmap(lambda v: 2 * v)(y), 2 * plain(y))
    with torch.inference_mode():
        assert kept(q.sample((2,))) is not None


def test_shapes_broadcast_and_expand():
    """The temperature joins the batch shape, never the classes."""
    t, a = torch.tensor([[0.5], [1.0]], requires_grad=True), torch.zeros(3, 4)
    for q, batch, event in [
        (RelaxedBernoulli(t, logits=a[:, 0]), (2, 3), ()),
        (RelaxedBernoulli(t, probs=0.3), (2, 1), ()),
        (RelaxedOneHotCategorical(t, logits=a), (2, 3), (4,)),
        (RelaxedOneHotCategorical(torch.ones(4), logits=a[0]), (4,), (4,)),
        (RelaxedBernoulli(0.5, probs=0.3).expand((7, 2)), (7, 2), ()),
        (RelaxedOneHotCategorical(0.5, probs=a.exp()).expand((7, 3)), (7, 3), (4,)),
    ]:
        assert (q.batch_shape, q.event_shape) == (batch, event)
        y = q.rsample((5, 6))
        assert y.shape == (5, 6, *batch, *event)
        assert q.log_prob(y).shape == (5, 6, *batch)
        assert q.probs.shape == q.logits.shape == (*batch, *event)
        assert y.unique().numel() > 1
    assert torch.autograd.grad(RelaxedBernoulli(t, logits=a[:, 0]).rsample().sum(), t)[0].all()


def test_pathwise_takes_uniforms_and_generators():
    """Uniforms `(n, *batch, *event)` decide the points; a generator repeats; gradients flow."""
    a = torch.randn(2, 3, generator=seeded(0), **DOUBLE, requires_grad=True)
    u = torch.rand(4, 2, 3, generator=seeded(1), **DOUBLE)
    b, c = RelaxedBernoulli(0.5, logits=a), RelaxedOneHotCategorical(0.5, logits=a)
    wanted = torch.sigmoid((a + torch.logit(u)) / 0.5)
    torch.testing.assert_close(plain(Pathwise().draw(b, n=4, noise=u).points), wanted)
    wanted = torch.softmax((a - (-u.log()).log()) / 0.5, -1)
    torch.testing.assert_close(plain(Pathwise().draw(c, n=4, noise=u).points), wanted)
    for q in (b, c, Independent(b, 1)):
        first, second = (Pathwise().draw(q, n=4, generator=seeded(3)).points for _ in range(2))
        assert torch.equal(first, second)
        assert torch.autograd.grad(first.square().sum(), a)[0].all()
        with pytest.raises(ValueError, match="expected uniforms of shape"):
            reparameterize(q, 5, Noise(uniforms=u))


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "message"),
    [
        (RelaxedBernoulli, {}, ValueError, "exactly one of probs= and logits=, got neither"),
        (RelaxedBernoulli, {"probs": 0.5, "logits": 0.0}, ValueError, "got both"),
        (RelaxedBernoulli, {"probs": 1.5}, ValueError, "probs .* to satisfy the constraint"),
        (RelaxedBernoulli, {"logits": math.nan}, ValueError, "logits .* to satisfy the constraint"),
        (RelaxedBernoulli, {"temperature": -1.0, "logits": 0.0}, ValueError, "parameter temperat"),
        (RelaxedBernoulli, {"temperature": math.nan, "logits": 0.0}, ValueError, "temperature"),
        (RelaxedBernoulli, {"logits": torch.tensor([1])}, TypeError, r"convert it with .float\(\)"),
        (RelaxedOneHotCategorical, {"logits": 0.5}, TypeError, "logits: expected a tensor"),
        (RelaxedOneHotCategorical, {"logits": torch.ones(0)}, ValueError, "at least one class"),
        (RelaxedOneHotCategorical, {"logits": torch.tensor([INF, 0])}, ValueError, "MaskedLogits"),
        (RelaxedOneHotCategorical, {"logits": torch.full((2,), -INF)}, ValueError, "MaskedLogits"),
        (RelaxedOneHotCategorical, {"probs": torch.tensor([-1.0, 2])}, ValueError, "Simplex"),
        (RelaxedOneHotCategorical, CLASHING, ValueError, r"batch shape \(2,\) .* got \(3,\)"),
    ],
)
def test_wrong_arguments_are_refused(kind, arguments, error, message):
    """Each by a message that names it."""
    with pytest.raises(error, match=message):
        kind(**{"temperature": 1.0, "validate_args": True, **arguments})
