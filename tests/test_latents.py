"""Latents and learned priors: divergences and gradients against quadrature, and tiny runs."""

import itertools
import math
import re
from dataclasses import dataclass
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal, kl_divergence

import reparam as rp
from acceptance import seeded
from reparam.baselines import MovingAverage
from reparam.core import Draw, Estimator
from reparam.families import log_prob, sample, unwrapped
from reparam.models import (
    VAE,
    CategoricalLatent,
    DirichletLatent,
    GaussianLatent,
    Latent,
    MixtureLatent,
    MixturePrior,
    Prior,
    VampPrior,
    VonMisesFisherLatent,
    VonMisesLatent,
    evaluate,
    free_bits,
    importance_weighted,
)
from reparam.noise import Noise
from reparam.problems.grids import every_tuple, gauss_legendre, grid
from reparam.recipes.vae.report import sections, told
from reparam.recipes.vae.settings import Posterior, VaeSettings
from test_report import CONTINUOUS, Page
from tiny_runs import (
    checkpoint,
    equal,
    make_run,
    options,
    records,
    reparam,
    settings,
    step_of,
    trained,
    write_images,
)

SHAPE = (1, 2, 3)
POSTERIORS = get_args(Posterior)
PRIORS = ("standard", "mixture", "vampprior")
MIXED = {"posterior": "mixture", "prior": "mixture", "components": 3}


def line(reach: float, count: int) -> tuple[Tensor, Tensor]:
    """Points and weights of the trapezoidal rule on (-reach, reach)."""
    points = torch.linspace(-reach, reach, count, dtype=torch.float64)
    return points, torch.full_like(points, 2 * reach / (count - 1))


def reals() -> tuple[Tensor, Tensor]:
    """Of a Gaussian latent of one unit."""
    z, dz = line(16.0, 161)
    return z.unsqueeze(-1), dz


def angles() -> tuple[Tensor, Tensor]:
    """Of one angle: the rule is exact to rounding for a periodic function."""
    z = torch.arange(160, dtype=torch.float64) * (2 * math.pi / 160)
    return z.unsqueeze(-1), torch.full_like(z, 2 * math.pi / 160)


def circle() -> tuple[Tensor, Tensor]:
    """Of a point on the sphere in the plane."""
    z, dz = angles()
    return torch.cat([z.cos(), z.sin()], -1), dz


def odds() -> tuple[Tensor, Tensor]:
    """Of two proportions: `LogDirichlet` is a density of their log-ratio."""
    s, ds = line(60.0, 1201)
    return torch.stack([-torch.log1p(torch.exp(-s)), -torch.log1p(torch.exp(s))], -1), ds


def normal_levels(count: int = 64) -> tuple[Tensor, Tensor]:
    """Uniforms `(count, 1)` and their weights, of what is smooth in Phi^-1(u)."""
    t, dt = line(7.0, count)
    return torch.special.ndtr(t).unsqueeze(-1), dt * torch.exp(-t * t / 2) / math.sqrt(2 * math.pi)


def gamma_levels() -> tuple[Tensor, Tensor]:
    """The same for two gamma variables, `(N, 2)`."""
    u, weights = normal_levels()
    return grid(u.flatten(), 2), torch.cartesian_prod(weights, weights).prod(-1)


def angle_levels() -> tuple[Tensor, Tensor]:
    """Uniforms of an angle, whose density has no zeros."""
    u, weights = gauss_legendre(48)
    return u.unsqueeze(-1), weights


def circle_levels() -> tuple[Tensor, Tensor]:
    """Uniforms of the angle between, and one for each side."""
    u, weights = gauss_legendre(32)
    sides = torch.tensor([0.25, 0.75], dtype=torch.float64)
    return torch.cartesian_prod(u, sides), weights.repeat_interleave(2) / 2


@dataclass(frozen=True)
class Case:
    """A latent small enough to integrate over, and how: its values, and the noise of a sample."""

    latent: Latent
    values: tuple[Tensor, Tensor]
    levels: tuple[Tensor, Tensor]


CASES = {
    "gaussian": Case(GaussianLatent(1), reals(), normal_levels()),
    "mixture": Case(MixtureLatent(1, 2), reals(), normal_levels(120)),
    "von-mises": Case(VonMisesLatent(1), angles(), angle_levels()),
    "von-mises-fisher": Case(VonMisesFisherLatent(2), circle(), circle_levels()),
    "dirichlet": Case(DirichletLatent(2), odds(), gamma_levels()),
}


@dataclass(frozen=True)
class Given(Estimator):
    """An estimator with its uniforms."""

    inner: Estimator
    uniforms: Tensor

    unbiased = exact = pathwise = black_box = False

    @property
    def multisample(self) -> bool:  # type: ignore[override]
        """Of the one within."""
        return self.inner.multisample

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        return self.inner.draw(q, n, noise=self.uniforms)


def model(latent: Latent, prior: str = "standard") -> VAE:
    """A VAE whose encoder has opinions, smooth, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = {
            "standard": lambda: None,
            "mixture": lambda: MixturePrior(latent, 2),
            "vampprior": lambda: VampPrior(SHAPE, 2),
        }
        learned: Prior | None = made[prior]()
        vae = VAE(SHAPE, latent, hidden=4, prior=learned).double()
    for parameter in vae.encoder.parameters():
        parameter.data.mul_(2)
    vae.decoder[1] = torch.nn.Tanh()  # quadrature has no taste for kinks
    if prior == "mixture":
        vae.learned.logits.data.copy_(torch.tensor([0.3, -0.6]))
    return vae


def image() -> Tensor:
    """One image, `(1, *SHAPE)`."""
    return torch.rand(1, *SHAPE, generator=seeded(1), dtype=torch.float64)


def integrals(vae: VAE, case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """q dz, -log p(x|z) and log q - log p at the values, `(N)` each."""
    values, dz = case.values
    q = vae.posterior(image())
    points = values.unsqueeze(1)
    log_q = log_prob(q, points)
    ratio = log_q - log_prob(vae.prior(points), points)
    return (log_q.exp() * dz.unsqueeze(1))[:, 0], vae.cost(image(), points)[:, 0], ratio[:, 0]


def gradients(vae: VAE, value: Tensor) -> list[Tensor]:
    """In every parameter."""
    found = torch.autograd.grad(value, list(vae.parameters()), allow_unused=True)
    pairs = zip(found, vae.parameters(), strict=True)
    return [torch.zeros_like(p) if g is None else g for g, p in pairs]


def expected_terms(vae: VAE, case: Case, estimator: Estimator, n: int) -> tuple[Tensor, Tensor]:
    """The objective by quadrature over the noise, and the KL of the record."""
    u, weights = case.levels
    chances, uniforms = every_tuple(weights, u, n)
    images = image().expand(len(chances), *SHAPE)
    terms = vae(images, Given(estimator, uniforms), n, seeded(0))
    return (chances * terms.objective()).sum(), terms.kl.detach().mean(0)


def assert_close(ours: list[Tensor], exact: list[Tensor]) -> None:
    """To seven digits of the largest."""
    for mine, true in zip(ours, exact, strict=True):
        torch.testing.assert_close(mine, true, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_the_kl_is_its_integral(name):
    """Of posteriors from encoder outputs of every sign; the densities integrate to one."""
    case = CASES[name]
    for seed in range(4):
        features = 1.5 * torch.randn(
            1, case.latent.features, generator=seeded(seed), dtype=torch.float64
        )
        q, p = case.latent.posterior(features), case.latent.prior(features)
        values, dz = case.values
        log_q, log_p = log_prob(q, values.unsqueeze(1))[:, 0], log_prob(p, values)
        mass = log_q.exp() * dz
        torch.testing.assert_close(mass.sum().item(), 1.0, rtol=1e-8, atol=0)
        torch.testing.assert_close((log_p.exp() * dz).sum().item(), 1.0, rtol=1e-8, atol=0)
        kl = case.latent.kl(q)
        if kl is None:
            assert name == "mixture"
            continue
        assert kl.shape == (1, 1)
        integral = (mass * (log_q - log_p)).sum()
        torch.testing.assert_close(kl.sum(), integral, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("prior", ["mixture", "vampprior"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("way", [rp.Pathwise(), rp.Score(), rp.Score(MovingAverage())], ids=repr)
def test_one_sample_gradients_are_those_of_the_bound(way, name, prior):
    """Value and gradient in encoder, decoder and prior, of bounds that have no closed form."""
    vae, case = model(CASES[name].latent, prior), CASES[name]
    mass, cost, ratio = integrals(vae, case)
    exact = -(mass * (cost + ratio)).sum()
    ours, _ = expected_terms(vae, case, way, 1)
    torch.testing.assert_close(ours, exact, rtol=1e-7, atol=1e-7)
    assert_close(gradients(vae, ours), gradients(vae, exact))


@pytest.mark.parametrize("name", ["gaussian", "von-mises-fisher"])
def test_closed_forms_have_the_same_gradients(name):
    """Where the KL is no part of the cost."""
    vae, case = model(CASES[name].latent), CASES[name]
    mass, cost, ratio = integrals(vae, case)
    exact = -(mass * (cost + ratio)).sum()
    ours, _ = expected_terms(vae, case, rp.Pathwise(), 1)
    assert_close(gradients(vae, ours), gradients(vae, exact))


@pytest.mark.parametrize(
    ("name", "prior"), [("gaussian", "mixture"), ("mixture", "standard"), ("von-mises", "mixture")]
)
def test_leave_one_out_gradients_are_those_of_the_bound(name, prior):
    """Two samples, the whole cost of one the baseline of the other's."""
    vae, case = model(CASES[name].latent, prior), CASES[name]
    mass, cost, ratio = integrals(vae, case)
    exact = -(mass * (cost + ratio)).sum()
    ours, _ = expected_terms(vae, case, rp.Rloo(), 2)
    assert_close(gradients(vae, ours), gradients(vae, exact))


@pytest.mark.parametrize(
    ("name", "prior"),
    [
        ("gaussian", "mixture"),
        ("gaussian", "standard"),
        ("mixture", "vampprior"),
        ("von-mises-fisher", "standard"),
    ],
)
@pytest.mark.parametrize("way", [rp.Vimco(), rp.Dreg()], ids=repr)
def test_multisample_gradients_are_those_of_their_bound(way, name, prior):
    """E log mean of two weights, by a double integral."""
    vae, case = model(CASES[name].latent, prior), CASES[name]
    mass, cost, ratio = integrals(vae, case)
    log_w = -cost - ratio
    bound = torch.logaddexp(log_w, log_w.unsqueeze(-1)) - math.log(2)
    exact = (mass * mass.unsqueeze(-1) * bound).sum()
    ours, kl = expected_terms(vae, case, way, 2)
    torch.testing.assert_close(ours, exact, rtol=1e-7, atol=1e-7)
    assert_close(gradients(vae, ours), gradients(vae, exact))
    assert kl.shape == (1,)


@pytest.mark.parametrize("way", [rp.Pathwise(), rp.Score()], ids=repr)
@pytest.mark.parametrize(
    ("weight", "least", "price"), [(0.3, 0.0, 0.3), (0.3, 0.01, 0.3), (1.0, 99.0, 0.0)]
)
def test_a_kl_without_a_formula_has_its_price(way, weight, least, price):
    """E[cost] + weight KL, or E[cost] alone while the KL is below its free bits."""
    case = CASES["gaussian"]
    vae = model(case.latent, "mixture")
    vae.learned.own.data[:, 0] += 3  # far: 0.01 nats are out of doubt
    mass, cost, ratio = integrals(vae, case)
    assert (mass * ratio).sum() > 1
    u, weights = case.levels
    images = image().expand(len(u), *SHAPE)
    terms = vae(images, Given(way, u[None]), 1, seeded(0), kl_weight=weight, least=least)
    assert not terms.kl.requires_grad
    ours = (weights * (terms.reconstruction + price * terms.kl.sum(-1))).sum()
    exact = (mass * (cost + price * ratio)).sum()
    torch.testing.assert_close(ours, exact, rtol=1e-7, atol=1e-7)
    assert_close(gradients(vae, ours), gradients(vae, exact))


def test_no_free_bits_take_an_estimate_as_it_is():
    """Also a negative one: where the posterior is near the prior every second one is."""
    torch.testing.assert_close(free_bits(torch.tensor([[-0.5], [0.1]]), 0.0).item(), -0.2)
    vae = model(MixtureLatent(1, 2))
    for parameter in vae.encoder.parameters():
        parameter.data.mul_(0.1)
    signs = set()
    for seed in range(12):
        terms = vae(image(), rp.Pathwise(), generator=seeded(seed))
        signs.add(terms.kl.sign().item())
        moved = gradients(vae, vae(image(), rp.Pathwise(), generator=seeded(seed)).objective())
        free = vae(image(), rp.Pathwise(), generator=seeded(seed), least=99.0)
        assert not torch.equal(moved[2], gradients(vae, -free.reconstruction.sum())[2])
    assert signs == {-1, 1}


def test_the_baseline_sees_the_whole_cost_once():
    """-log p(x|z) + log q - log p, at the point that was drawn."""
    vae, average = model(GaussianLatent(1), "mixture"), MovingAverage()
    u = torch.tensor([[[0.3]]], dtype=torch.float64)
    vae(image(), Given(rp.Score(average), u))
    q = vae.posterior(image())
    points = rp.Pathwise().draw(q, noise=u).points
    whole = vae.cost(image(), points) + vae.log_ratio(q, points)
    torch.testing.assert_close(average.total / average.weight, whole.squeeze())
    assert average.weight == pytest.approx(1 - average.decay)


def test_what_is_recorded_of_a_kl_is_its_mean():
    """From samples, whatever the estimator's points are: here all codes, which weigh the same.

    The sum over codes, by Hoeffding at rate 1e-7.
    """
    latent = CategoricalLatent(2, 2)
    vae = model(latent, "mixture")
    copies = 20_000
    terms = vae(image().expand(copies, *SHAPE), rp.Enumerate(), generator=seeded(0))
    rows = torch.tensor(list(itertools.product(range(2), repeat=2)))
    codes = torch.nn.functional.one_hot(rows, 2).double().unsqueeze(1)
    q = vae.posterior(image())
    ratio = vae.log_ratio(q, codes)[:, 0]
    exact = (log_prob(q, codes)[:, 0].exp() * ratio).sum()
    spread = (ratio.max() - ratio.min()) * math.sqrt(math.log(2e7) / (2 * copies))
    assert abs(terms.kl.mean() - exact) < spread < abs(ratio.mean() - exact) / 2


def test_a_mixture_of_gaussians_is_written_out():
    """log sum_k w_k N(z; mu_k, sigma_k), from the parameters and no more."""
    vae = model(GaussianLatent(2), "mixture")
    z = torch.randn(5, 2, generator=seeded(0), dtype=torch.float64)
    mean, log_variance = vae.learned.own.chunk(2, -1)
    each = Normal(mean, (log_variance / 2).exp()).log_prob(z.unsqueeze(1)).sum(-1)
    exact = torch.logsumexp(torch.log_softmax(vae.learned.logits, -1) + each, -1)
    torch.testing.assert_close(vae.prior(z).log_prob(z), exact)


def test_a_vampprior_is_the_mean_of_posteriors():
    """Of its images, whose pixels are between 0 and 1."""
    vae = model(VonMisesFisherLatent(3), "vampprior")
    z = sample(vae.posterior(torch.rand(5, *SHAPE, dtype=torch.float64)), 1, Noise(seeded(0)))[0]
    pixels = 1 / (1 + (-vae.learned.pixels).exp())
    q = vae.posterior(pixels)
    exact = torch.logsumexp(q.log_prob(z.unsqueeze(1)), -1) - math.log(2)
    torch.testing.assert_close(vae.prior(z).log_prob(z), exact)


def test_several_units_are_told_apart():
    """Angles and Gaussians have a KL each, in order; a sphere and a simplex have one in all."""
    features = torch.randn(5, 12, generator=seeded(0), dtype=torch.float64)
    latent = VonMisesLatent(4)
    each = latent.kl(latent.posterior(features))
    assert each.shape == (5, 4)
    for unit in range(4):
        alone = latent.posterior(features).base_dist
        one = type(alone)(alone.loc[:, unit], alone.concentration[:, unit])
        exact = math.log(2 * math.pi) - one.entropy()
        torch.testing.assert_close(each[:, unit], exact)
    for whole in (VonMisesFisherLatent(11), DirichletLatent(12)):
        q = whole.posterior(features[:, : whole.features])
        kl = kl_divergence(q, whole.prior(features))
        torch.testing.assert_close(whole.kl(q), kl.unsqueeze(-1))


def test_the_decoder_sees_no_seam():
    """A turn more is the same angle, by its cosine and then its sine."""
    angle = torch.tensor([[0.3, -2.0]])
    seen = VonMisesLatent(2).inputs(angle)
    torch.testing.assert_close(seen, VonMisesLatent(2).inputs(angle + 2 * math.pi))
    x = torch.tensor([[math.cos(0.3), math.cos(-2.0), math.sin(0.3), math.sin(-2.0)]])
    torch.testing.assert_close(seen, math.sqrt(2) * x)


@pytest.mark.parametrize("name", CASES)
def test_the_decoder_sees_numbers_of_mean_0_and_variance_near_1(name):
    """Under the prior, by its integral: 1, and 1/3 for two proportions, (d - 1) / (d + 1)."""
    latent, (values, dz) = CASES[name].latent, CASES[name].values
    mass = (log_prob(latent.prior(values), values).exp() * dz).unsqueeze(-1)
    inputs = latent.inputs(values)
    assert inputs.shape == (len(values), latent.dims)
    zeros = torch.zeros(latent.dims, dtype=torch.float64)
    torch.testing.assert_close((mass * inputs).sum(0), zeros, rtol=0, atol=1e-8)
    variance = 1 / 3 if name == "dirichlet" else 1.0
    torch.testing.assert_close((mass * inputs.square()).sum(0), zeros + variance)


@pytest.mark.parametrize(
    "latent", [VonMisesLatent(2), VonMisesFisherLatent(3)], ids=["angle", "sphere"]
)
def test_an_encoder_points_and_says_how_surely(latent):
    """Each of its numbers matters, to the direction or to the concentration and not to both."""
    features = torch.randn(latent.features, generator=seeded(0), dtype=torch.float64)

    def parameters(x: Tensor) -> tuple[Tensor, Tensor]:
        q = unwrapped(latent.posterior(x))
        return q.loc, q.concentration

    loc, concentration = torch.autograd.functional.jacobian(parameters, features)
    moved, sure = ((j.reshape(-1, latent.features) != 0).any(0) for j in (loc, concentration))
    assert torch.equal(moved, ~sure)
    assert sure.sum() == concentration.numel() // latent.features


def test_what_a_prior_learns():
    """Weights and components, or images of equal weights."""
    mixture, vamp = MixturePrior(GaussianLatent(2), 3), VampPrior(SHAPE, 3)
    assert {k: tuple(v.shape) for k, v in mixture.named_parameters()} == {
        "logits": (3,),
        "own": (3, 4),
    }
    assert {k: tuple(v.shape) for k, v in vamp.named_parameters()} == {"pixels": (3, *SHAPE)}
    for prior in (mixture, vamp):
        assert prior.state_dict().keys() == dict(prior.named_parameters()).keys()


def test_the_bounds_hold_for_learned_priors():
    """The ELBO's mean is its integral within six standard errors; the weighted bound is above."""
    case = CASES["gaussian"]
    vae = model(case.latent, "mixture")
    mass, cost, ratio = integrals(vae, case)
    copies = 20_000
    images = image().expand(copies, *SHAPE)
    found = evaluate(vae, images, rp.Pathwise(), seeded(0))
    for value, each in ((-found.bound, cost + ratio), (found.kl, ratio)):
        mean = (mass * each).sum()
        error = ((mass * (each - mean).square()).sum() / copies).sqrt()
        assert abs(value - mean) < 6 * error
    log_p = torch.logsumexp(mass.log() - cost - ratio, 0).item()
    weighted = importance_weighted(vae, images[:2000], 20, seeded(0))
    assert -(mass * (cost + ratio)).sum() + 0.01 < weighted < log_p + 0.01


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_every_posterior_trains_with_every_prior(posterior, prior, tmp_path):
    """From the command line to a report."""
    data = write_images(tmp_path / "tiny.npy")
    chosen = {"posterior": posterior, "prior": prior, "epochs": 1}
    outcome = reparam(*options("vae", data=data, out=tmp_path / "run", **chosen))
    assert outcome.status == 0, outcome
    (final,) = records(tmp_path / "run", final=True)
    assert -100 < final["bound_3"] < 0
    page = Page(tmp_path / "run" / "report.html")
    assert page.texts["h2"] == CONTINUOUS
    one = posterior not in ("gaussian", "von-mises") or prior != "standard"
    assert ("one variable of" in page.texts["p"][-2]) == one


@pytest.mark.parametrize("estimator", ["score:baseline=moving-average", "rloo", "vimco", "dreg"])
def test_other_estimators_train_them_too(estimator, tmp_path):
    """A mixture under a mixture, of two samples."""
    run = make_run(tmp_path, settings("vae", estimator=estimator, samples=2, **MIXED))
    before = {k: v.clone() for k, v in run.task.named_parameters()}
    final = trained(run)
    assert math.isfinite(final["bound_3"])
    assert all(not torch.equal(v, before[k]) for k, v in run.task.named_parameters())


@torch.no_grad()
def test_the_report_shows_the_learned_prior(tmp_path, monkeypatch):
    """Nothing asks for the latent's own."""
    run = make_run(tmp_path, settings("vae", **MIXED))
    monkeypatch.delattr(MixtureLatent, "prior")
    titles = [section.title for section in sections(run.task, run.data, [])]
    assert titles == CONTINUOUS[:-1]


def test_free_bits_and_weights_reach_the_loss(tmp_path):
    """reconstruction + weight * max(KL, least), with the gradient of what is counted."""
    for least, counted in ((0.0, 1), (99.0, 0)):
        chosen = settings("vae", kl_weight="0.5", free_bits=least, **MIXED)
        task = make_run(tmp_path, chosen).task
        batch = torch.rand(6, 1, 8, 8, generator=seeded(0))
        step = step_of(batch)
        loss, metrics = task(batch, step)
        terms = task.vae(batch, task.estimator, 1, key=step.keys, kl_weight=0.5, least=least)
        kl = terms.kl.sum(-1).mean()
        counts = kl if counted else torch.tensor(least)
        torch.testing.assert_close(loss, terms.reconstruction.mean() + 0.5 * counts)
        torch.testing.assert_close(metrics["kl"], kl)
        loss.backward()
        assert bool((task.vae.learned.own.grad != 0).any()) == bool(counted)


def test_a_run_with_a_learned_prior_goes_on_where_it_stopped(tmp_path):
    """Bit for bit, the prior and its moments in the optimizer included."""
    chosen = settings("vae", **MIXED)
    whole = make_run(tmp_path / "whole", chosen)
    trained(whole)
    cut = make_run(tmp_path / "cut", chosen)
    cut.steps = cut.steps_per_epoch
    trained(cut)
    again = make_run(tmp_path / "cut", chosen)
    again.resume()
    assert 0 < again.step < whole.step
    trained(again)
    first, second = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "cut")
    assert any("learned" in name for name in first["task"])
    assert equal(first["task"], second["task"])
    assert equal(first["optimizer"], second["optimizer"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"components": 3},
            "--components: expected a mixture to have them, got 3 for --posterior ",
        ),
        ({"components": 0, "prior": "mixture"}, "--components: expected at least 1, got 0"),
        ({"posterior": "dirichlet", "latents": 1}, "--latents: expected at least 2, got 1"),
        ({"posterior": "von-mises-fisher", "latents": 1}, "--latents: expected at least 2, got 1"),
        ({"posterior": "cauchy"}, "Invalid value .*posterior"),
        ({"posterior": "dirichlet", "estimator": "gumbel-softmax"}, "q: expected a discrete "),
        ({"posterior": "von-mises", "estimator": "measure-valued"}, "q: expected Normal, "),
        (
            {"prior": "mixture", "estimator": "dreg", "free_bits": 1},
            "--kl-weight, --free-bits: expected neither",
        ),
    ],
)
def test_what_does_not_fit_is_refused(given, said, tmp_path):
    """Before any training, with what fits."""
    outcome = reparam(*options("vae", data=write_images(tmp_path / "a.npy"), **given))
    assert outcome.status == 2
    assert re.search(said, outcome.err)
    assert outcome.err.count("\n") == 1


def test_a_mixture_alone_has_components():
    """In posterior or prior; the default may stand anywhere."""
    for fields in ({"posterior": "mixture"}, {"prior": "mixture"}, {"prior": "vampprior"}):
        VaeSettings(components=3, **fields)
    VaeSettings(components=10)


def test_counts_are_checked():
    """A sphere and a simplex have two dimensions at least, a mixture one component."""
    for make in (
        lambda: VonMisesLatent(0),
        lambda: VonMisesFisherLatent(1),
        lambda: DirichletLatent(1),
        lambda: MixtureLatent(2, 0),
        lambda: MixturePrior(GaussianLatent(1), 0),
        lambda: VampPrior(SHAPE, 0),
    ):
        with pytest.raises(ValueError, match="expected an integer >="):
            make()


def test_what_the_image_decides_of_a_number():
    """All of it, none, and the share of a variance; a constant is not decided."""
    generator = seeded(0)
    image_part, first, second = torch.randn(3, 200_000, generator=generator)
    one = torch.stack([image_part, first, 2 * image_part + first, 0 * first], -1)
    other = torch.stack([image_part, second, 2 * image_part + second, 0 * first], -1)
    shares = told(one, other)
    # Six standard errors of a correlation are below 6 / sqrt(200,000).
    torch.testing.assert_close(shares, torch.tensor([1, 0, 0.8, 0]), rtol=0, atol=0.014)
