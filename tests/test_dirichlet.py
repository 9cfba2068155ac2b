"""The Dirichlet and its logarithm: marginals, moments and their gradients, divergences, shapes."""

import mpmath as mp
import pytest
import torch
from scipy import stats
from torch import distributions as D
from torch.distributions import kl_divergence

import reparam as rp
from acceptance import assert_follows, seeded
from reparam.distributions import Dirichlet, LogDirichlet
from reparam.noise import Noise

DOUBLE = {"dtype": torch.float64}
ALPHAS = [(0.7, 2.5), (1.3, 2.5, 0.8)]
every_kind = pytest.mark.parametrize("kind", [Dirichlet, LogDirichlet])
every_alpha = pytest.mark.parametrize("alpha", ALPHAS, ids=len)


def simplex(q, points):
    """Points of either kind on the simplex."""
    return points.exp() if isinstance(q, LogDirichlet) else points


def grid(k):
    """A trapezoid rule over k uniforms u = Phi(t): `(N, k)`, and weights `(N,)`."""
    step = {2: 0.1, 3: 0.3}[k]
    t = torch.arange(-7.5, 7.51, step, **DOUBLE)
    w = torch.exp(-t.square() / 2) * step / (2 * torch.pi) ** 0.5
    return torch.special.ndtr(torch.cartesian_prod(*[t] * k)), torch.cartesian_prod(*[w] * k).prod(
        -1
    )


def first_sine(*a):
    """E sin x_1 of x_1 ~ Beta(a_1, rest)."""
    return mp.im(mp.hyp1f1(a[0], mp.fsum(a), 1j))


COSTS = {
    "x": (lambda x: x[:, 0], lambda *a: a[0] / mp.fsum(a)),
    "x y": (
        lambda x: x[:, 0] * x[:, 1],
        lambda *a: a[0] * a[1] / (mp.fsum(a) * (mp.fsum(a) + 1)),
    ),
    "sin x": (lambda x: x[:, 0].sin(), first_sine),
    "log x": (lambda x: x[:, 0].log(), lambda *a: mp.digamma(a[0]) - mp.digamma(mp.fsum(a))),
}


@every_kind
@every_alpha
def test_values_and_gradients_are_those_of_the_expectation(kind, alpha):
    """Of E f(x), f each of x_1, x_1 x_2, sin x_1 and log x_1, in every alpha: to 1e-6."""
    leaf = torch.tensor(alpha, **DOUBLE, requires_grad=True)
    q = kind(leaf)
    u, weights = grid(len(alpha))
    x = simplex(q, rp.Pathwise().draw(q, len(u), noise=u).points)
    at = tuple(map(mp.mpf, alpha))
    orders = [tuple(int(i == j) for j in range(len(at))) for i in range(len(at))]
    for f, truth in COSTS.values():
        value = weights @ f(x)
        assert value.item() == pytest.approx(float(truth(*at)), rel=1e-6)
        exact = [float(mp.diff(truth, at, order)) for order in orders]
        got = torch.autograd.grad(value, leaf, retain_graph=True)[0].tolist()
        assert got == pytest.approx(exact, rel=1e-6, abs=1e-6)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("source", ["generator", "key"])
def test_marginals_follow_the_beta_law(kind, dtype, source):
    """KS, 2e4 draws of each entry: false fail 1e-7; a CDF wrong by .041 passes at 1e-7."""
    alpha = (0.2, 1.0, 3.0)
    q = kind(torch.tensor(alpha, dtype=dtype))
    noise = Noise(generator=seeded(0)) if source == "generator" else Noise(key=0)
    points = q.rsample((20_000,), noise)
    assert points.dtype == dtype
    for k, a in enumerate(alpha):
        assert_follows(simplex(q, points)[:, k], stats.beta(a, sum(alpha) - a).cdf)


@every_kind
def test_entries_are_dependent_as_they_should(kind):
    """x_1 / (x_1 + x_2) ~ Beta(a_1, a_2) whatever the rest: KS as above, over both halves of it."""
    q = kind(torch.tensor([0.7, 2.0, 1.5], **DOUBLE))
    x = simplex(q, q.rsample((40_000,), Noise(seeded(1))))
    share = x[:, 0] / (x[:, 0] + x[:, 1])
    large = x[:, 2] > x[:, 2].median()
    for part in (share[large], share[~large]):
        assert_follows(part, stats.beta(0.7, 2.0).cdf)


@every_alpha
def test_densities_moments_and_entropies_are_scipys(alpha):
    """Of the Dirichlet; of its logarithm, with the Jacobian, by its definition."""
    law, a = stats.dirichlet(alpha), torch.tensor(alpha, **DOUBLE)
    q, log_q = Dirichlet(a), LogDirichlet(a)
    x = q.rsample((50,), Noise(seeded(0)))
    expected = torch.as_tensor([law.logpdf(row / row.sum()) for row in x.numpy()])
    torch.testing.assert_close(q.log_prob(x), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(q.log_prob_of_log(x.log()), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_q.log_prob(x.log()), expected + x.log().sum(-1))
    torch.testing.assert_close(q.mean, torch.as_tensor(law.mean()))
    torch.testing.assert_close(q.variance, torch.as_tensor(law.var()))
    torch.testing.assert_close(q.entropy().item(), float(law.entropy()))
    u, weights = grid(len(alpha))
    y = log_q.rsample((len(u),), Noise(uniforms=u))
    torch.testing.assert_close(log_q.mean, weights @ y, rtol=1e-6, atol=1e-6)
    spread = weights @ (y - log_q.mean).square()
    torch.testing.assert_close(log_q.variance, spread, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(log_q.entropy(), -weights @ log_q.log_prob(y), rtol=1e-6, atol=1e-6)


@every_kind
@every_alpha
def test_the_mode_is_the_top_of_the_density(kind, alpha):
    """Concentrations above 1, where there is one for both: no sample is denser."""
    q = kind(torch.tensor(alpha, **DOUBLE) + 1)
    mode = q.mode
    assert (q.log_prob(q.rsample((1000,), Noise(seeded(0)))) <= q.log_prob(mode)).all()
    nudged = simplex(q, mode) * torch.tensor([1 + 1e-4] + [1.0] * (len(alpha) - 1), **DOUBLE)
    nudged = nudged / nudged.sum(-1, keepdim=True)
    nudged = nudged.log() if kind is LogDirichlet else nudged
    assert 0 < q.log_prob(mode) - q.log_prob(nudged) < 1e-6


@every_kind
@every_alpha
def test_divergences_are_those_of_the_densities(kind, alpha):
    """By quadrature, with their gradients; to itself 0; the two kinds' are one."""
    leaf = torch.tensor(alpha, **DOUBLE, requires_grad=True)
    q, p = kind(leaf), kind(torch.tensor(alpha[::-1], **DOUBLE) * 1.2)
    kl = kl_divergence(q, p)
    u, weights = grid(len(alpha))
    x = q.rsample((len(u),), Noise(uniforms=u))
    expected = weights @ (q.log_prob(x) - p.log_prob(x))
    torch.testing.assert_close(kl, expected, rtol=1e-6, atol=1e-6)
    slopes = [torch.autograd.grad(v, leaf, retain_graph=True)[0] for v in (kl, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-5, atol=1e-5)
    assert abs(kl_divergence(q, q).item()) < 1e-14
    dirichlets = D.Dirichlet(q.concentration), D.Dirichlet(p.concentration)
    torch.testing.assert_close(kl, kl_divergence(*dirichlets))


@every_kind
def test_rows_are_independent_and_expand(kind):
    """A row's points are its key's alone; generators repeat; an expanded q draws every row anew."""
    alpha = torch.rand(4, 3, generator=seeded(3)) + 0.5
    q = kind(alpha)
    keys = torch.arange(4)
    rows = q.rsample((2,), Noise(key=keys))
    assert torch.equal(rows[:, 2:3], kind(alpha[2:3]).rsample((2,), Noise(key=keys[2:3])))
    wide = kind(alpha[0]).expand((5, 2))
    assert (type(wide), wide.batch_shape, wide.event_shape) == (kind, (5, 2), (3,))
    x = wide.rsample((6,), Noise(seeded(0)))
    assert x.shape == (6, 5, 2, 3)
    assert torch.equal(x, wide.rsample((6,), Noise(seeded(0))))
    assert x[..., 0].unique().numel() == 60
    assert wide.log_prob(x).shape == (6, 5, 2)
    assert wide.entropy().shape == wide.mean[..., 0].shape == (5, 2)
    assert wide.mode.shape == wide.variance.shape == (5, 2, 3)


@every_kind
def test_wrong_parameters_and_values_are_refused(kind):
    """The messages say what was expected."""
    with pytest.raises(ValueError, match=r"concentration .* to satisfy the constraint"):
        kind(torch.tensor([1.0, 0.0]), validate_args=True)
    with pytest.raises(ValueError, match="dimension"):
        kind(torch.tensor(1.0))
    q = kind(torch.ones(3), validate_args=True)
    for wrong in (torch.tensor([0.5, 0.5, 0.5]), torch.full((3,), torch.nan)):
        with pytest.raises(ValueError, match="within the support"):
            q.log_prob(wrong)
    if kind is LogDirichlet:
        with pytest.raises(TypeError, match=r"concentration: expected a real floating-point"):
            kind(torch.ones(3, dtype=torch.int64))
