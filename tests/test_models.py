"""Models: closed forms against torch's, bounds against enumeration, networks of every shape."""

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, OneHotCategorical, kl_divergence

import reparam as rp
from acceptance import FALSE_FAIL, seeded
from reparam.families import log_prob, sample
from reparam.models import (
    VAE,
    CategoricalLatent,
    GaussianLatent,
    evaluate,
    free_bits,
    importance_weighted,
    networks,
    relaxes,
)
from reparam.noise import Noise

SHAPE, UNITS, CLASSES = (1, 2, 3), 2, 3
COPIES = 20_000
HARD = ["straight-through-gumbel-softmax", "straight-through", "score", "rloo", "enumerate"]
HARD += ["gumbel-softmax:tau=0"]


@pytest.fixture
def vae() -> VAE:
    """Two latents of three classes: nine codes, so that everything can be summed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE(SHAPE, CategoricalLatent(UNITS, CLASSES), hidden=5).double()
    for parameter in model.parameters():
        parameter.data.mul_(3)  # an encoder and a decoder with opinions
    return model


@pytest.fixture
def image() -> Tensor:
    """One image, `(1, *SHAPE)`."""
    return torch.rand(1, *SHAPE, generator=seeded(1), dtype=torch.float64)


def codes() -> Tensor:
    """All latent points, `(9, UNITS, CLASSES)`."""
    rows = list(itertools.product(range(CLASSES), repeat=UNITS))
    return torch.nn.functional.one_hot(torch.tensor(rows), CLASSES).double()


def enumerated(vae: VAE, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log q(z|x), log p(x|z) and log p(z) of all nine codes, from the networks and no more."""
    logits = vae.encoder(image).reshape(UNITS, CLASSES)
    log_q = (torch.log_softmax(logits, -1) * codes()).sum((-1, -2))
    pixels = torch.sigmoid(vae.decoder(codes().reshape(-1, UNITS * CLASSES)))
    likelihood = image * pixels.log() + (1 - image) * (1 - pixels).log()
    prior = torch.full_like(log_q, -UNITS * math.log(CLASSES))
    return log_q, likelihood.flatten(1).sum(-1), prior


def elbo(vae: VAE, image: Tensor) -> Tensor:
    """sum_z q(z|x) (log p(x|z) + log p(z) - log q(z|x))."""
    log_q, likelihood, prior = enumerated(vae, image)
    return (log_q.exp() * (likelihood + prior - log_q)).sum()


def hoeffding(values: Tensor, n: int) -> float:
    """How far a mean of n values from among these strays from its expectation at rate FALSE_FAIL.

    By the same inequality an estimate whose expectation is off by twice as much passes at most at
    that rate.
    """
    return (values.max() - values.min()).item() * math.sqrt(math.log(2 / FALSE_FAIL) / (2 * n))


def test_an_impossible_class_leaves_the_kl_finite():
    """log 3 - log 2 of two even classes of three, with a gradient that is 0 at the third."""
    logits = torch.tensor([[0.0, 0.0, -torch.inf]], requires_grad=True)
    latent = CategoricalLatent(1, 3)
    kl = latent.kl(latent.posterior(logits))
    torch.testing.assert_close(kl, torch.tensor([[math.log(1.5)]]))
    torch.testing.assert_close(torch.autograd.grad(kl.sum(), logits)[0], torch.zeros(1, 3))


def test_the_gaussian_kl_is_torchs():
    """(mu^2 + sigma^2 - 1 - log sigma^2) / 2 for each unit, from means and log-variances."""
    latent = GaussianLatent(4)
    features = 2 * torch.randn(7, 8, generator=seeded(0), dtype=torch.float64)
    mean, log_variance = features[:, :4], features[:, 4:]
    exact = kl_divergence(Normal(mean, log_variance.exp().sqrt()), Normal(0.0, 1.0))
    torch.testing.assert_close(latent.kl(latent.posterior(features)), exact, rtol=1e-12, atol=0)
    prior = latent.prior(features)
    whole = kl_divergence(latent.posterior(features), prior)
    torch.testing.assert_close(latent.kl(latent.posterior(features)).sum(-1), whole)


def test_the_categorical_kl_is_the_sum_over_classes():
    """sum_k q_k log(q_k K), also torch's, and 0 where the posterior is the prior."""
    latent = CategoricalLatent(4, 3)
    features = 3 * torch.randn(7, 12, generator=seeded(0), dtype=torch.float64)
    q = torch.softmax(features.reshape(7, 4, 3), -1)
    kl = latent.kl(latent.posterior(features))
    torch.testing.assert_close(kl, (q * (3 * q).log()).sum(-1))
    torch.testing.assert_close(
        kl, kl_divergence(OneHotCategorical(q), OneHotCategorical(torch.ones_like(q)))
    )
    assert latent.kl(latent.posterior(torch.zeros(1, 12))).abs().max() < 1e-6


def test_a_certain_categorical_costs_log_k():
    """Logits of a thousand and of minus infinity give a finite KL, where q log q is 0."""
    latent = CategoricalLatent(1, 4)
    far = torch.tensor([[1000.0, 0, 0, -1000.0]])
    torch.testing.assert_close(latent.kl(latent.posterior(far)), torch.full((1, 1), math.log(4)))


def test_the_prior_is_normalized_and_uniform(vae):
    """Nine codes of one ninth each."""
    p = log_prob(vae.latent.prior(torch.zeros((), dtype=torch.float64)), codes()).exp()
    torch.testing.assert_close(p, torch.full((9,), 1 / 9, dtype=torch.float64))


def test_the_gradient_by_enumeration_is_that_of_the_exact_bound(vae, image):
    """Value and every parameter's gradient, encoder and decoder."""
    terms = vae(image, rp.Enumerate())
    exact = elbo(vae, image)
    torch.testing.assert_close(terms.objective().squeeze(), exact, rtol=1e-12, atol=0)
    parameters = list(vae.parameters())
    ours = torch.autograd.grad(terms.objective().sum(), parameters)
    for mine, true in zip(ours, torch.autograd.grad(exact, parameters), strict=True):
        torch.testing.assert_close(mine, true, rtol=1e-9, atol=1e-12)


def test_the_one_sample_bound_is_the_elbo_in_expectation(vae, image):
    """The mean over copies of one image, by Hoeffding; its KL exactly."""
    log_q, likelihood, prior = enumerated(vae, image)
    result = evaluate(vae, image.expand(COPIES, *SHAPE), rp.Rloo(), seeded(0))
    assert abs(result.bound - elbo(vae, image).item()) < hoeffding(likelihood, COPIES)
    assert result.kl == pytest.approx((log_q.exp() * (log_q - prior)).sum().item(), rel=1e-9)
    assert result.bound == pytest.approx(-result.reconstruction - result.kl, rel=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_weighted_bound_has_its_expectation(k, vae, image):
    """The sum over all tuples of k codes; for k = 1 that is the ELBO."""
    log_q, likelihood, prior = enumerated(vae, image)
    log_w = likelihood + prior - log_q
    exact = sum(
        log_q[list(t)].sum().exp() * (torch.logsumexp(log_w[list(t)], 0) - math.log(k))
        for t in itertools.product(range(9), repeat=k)
    )
    if k == 1:
        torch.testing.assert_close(exact, elbo(vae, image))
    assert exact < torch.logsumexp(likelihood + prior, 0)
    copies = COPIES if k < 3 else COPIES // 2
    estimate = importance_weighted(vae, image.expand(copies, *SHAPE), k, seeded(k))
    assert abs(estimate - exact.item()) < hoeffding(log_w, copies)


def test_the_weighted_bound_tightens_to_log_p(vae, image):
    """From below: log p - Var(w) / (k p min w) <= E log mean(w) <= log p, as log x >= 1 - 1/x."""
    log_q, likelihood, prior = enumerated(vae, image)
    w = (likelihood + prior - log_q).exp()
    p = (likelihood + prior).exp().sum()
    variance = (log_q.exp() * (w - p).square()).sum()
    k, copies = 5_000, 50
    slack = (variance / (k * p * w.min())).item()
    gap = p.log().item() - elbo(vae, image).item()
    assert slack < gap / 10
    estimates = torch.tensor([importance_weighted(vae, image, k, seeded(i)) for i in range(copies)])
    # The estimate's standard deviation is sqrt(Var(w) / k) / p to first order; six of them.
    noise = 6 * (variance / k / copies).sqrt().item() / p.item()
    assert noise < gap / 10
    assert p.log().item() - slack - noise < estimates.mean().item() < p.log().item() + noise


def test_the_gaussian_weights_are_densities():
    """p(x|z) p(z) / q(z|x) at the very points that the generator gives, image by image."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE(SHAPE, GaussianLatent(2), hidden=5).double()
    data = torch.rand(4, *SHAPE, generator=seeded(1), dtype=torch.float64)
    q = model.posterior(data)
    z = sample(q, 3, Noise(seeded(5)))
    mean, log_variance = model.encoder(data).chunk(2, -1)
    own = Independent(Normal(mean, log_variance.exp().sqrt()), 1)
    prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
    log_w = prior - own.log_prob(z) - model.cost(data, z)
    exact = (torch.logsumexp(log_w, 0) - math.log(3)).mean().item()
    assert importance_weighted(model, data, 3, seeded(5)) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("chunk", [1, 6, 5000])
def test_pieces_make_no_difference_to_the_sum(chunk, vae):
    """With a posterior that is certain nothing is random, and every image counts once."""
    vae.encoder[-1].weight.data.zero_()
    vae.encoder[-1].bias.data.copy_(torch.tensor([1e4, 0, 0, 0, 1e4, 0]))
    data = torch.rand(7, *SHAPE, generator=seeded(1), dtype=torch.float64)
    exact = sum(elbo_of_certain(vae, data[i : i + 1]) for i in range(7)) / 7
    assert importance_weighted(vae, data, 2, seeded(0), chunk) == pytest.approx(exact)
    assert evaluate(vae, data, rp.Rloo(), seeded(0), batch=chunk).bound == pytest.approx(exact)


def elbo_of_certain(vae: VAE, image: Tensor) -> float:
    """log p(x, z) of the one code, first class and second class."""
    _, likelihood, prior = enumerated(vae, image)
    return (likelihood + prior)[codes()[:, 0, 0] * codes()[:, 1, 1] == 1].item()


@pytest.mark.parametrize("spec", HARD)
def test_hard_estimators_have_no_relaxed_value(spec, vae, image):
    """Their training objective is the bound itself, so there is nothing beside it."""
    way = rp.estimator(spec)
    result = evaluate(vae, image.expand(3, *SHAPE), way, seeded(0))
    assert not relaxes(way, vae.posterior(image))
    assert result.relaxed is None
    assert sorted(result.asdict()) == ["bound", "kl", "reconstruction"]


def test_gaussian_latents_are_never_relaxed():
    """A Gaussian point is a point of the support."""
    model = VAE(SHAPE, GaussianLatent(2), hidden=5)
    assert evaluate(model, torch.rand(3, *SHAPE), rp.Pathwise(), seeded(0)).relaxed is None


def test_the_bound_is_hard_whatever_the_estimator(vae, image):
    """The relaxed value differs, and the bound is that of any other estimator, bit for bit."""
    data = image.expand(50, *SHAPE)
    soft = evaluate(vae, data, rp.GumbelSoftmax(tau=5.0), seeded(0))
    hard = evaluate(vae, data, rp.Rloo(), seeded(0))
    assert (soft.bound, soft.kl) == (hard.bound, hard.kl)
    assert soft.relaxed is not None
    assert abs(soft.relaxed - soft.bound) > 0.1


def test_free_bits_count_each_unit_at_least():
    """max(least, mean over the batch) for each unit; units below get no gradient."""
    kl = torch.tensor([[0.0, 1.0, 0.3], [0.4, 2.0, 0.3]], requires_grad=True)
    kept = free_bits(kl, least=0.25)
    kept.backward()
    assert kept.item() == pytest.approx(0.25 + 1.5 + 0.3)
    assert kl.grad.tolist() == [[0, 0.5, 0.5], [0, 0.5, 0.5]]
    assert free_bits(kl, least=0.0).item() == pytest.approx(0.2 + 1.5 + 0.3)


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 9, 7), (2, 4, 5)])
def test_networks_fit_any_shape(architecture, shape):
    """Encoder and decoder agree on the image, and each parameter has a part in the result."""
    encoder, decoder = networks(architecture, shape, hidden=6, features=4, dims=5)
    assert encoder(torch.rand(2, *shape)).shape == (2, 4)
    logits = decoder(torch.rand(3, 5))
    assert logits.shape == (3, *shape)
    (encoder(torch.rand(2, *shape)).sum() + logits.sum()).backward()
    assert all(p.grad is not None for net in (encoder, decoder) for p in net.parameters())


def test_a_convolutional_decoder_grows_both_sides_alike():
    """From a quarter to half, rounded up, to the whole: height stays height."""
    _, decoder = networks("conv", (1, 9, 5), hidden=6, features=4, dims=5)
    seen = []
    for layer in (decoder.coarse, decoder.fine):
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[-2:])))
    decoder(torch.zeros(1, 5))
    assert seen == [(5, 3), (9, 5)]


def test_networks_refuse_what_they_cannot_be():
    """An unknown architecture, and images too small for two strides."""
    with pytest.raises(ValueError, match="expected 'mlp' or 'conv', got 'cnn'"):
        networks("cnn", SHAPE, 5, 4, 4)
    with pytest.raises(ValueError, match="at least 4 x 4 pixels for 'conv', got 3 x 9; use 'mlp'"):
        networks("conv", (1, 3, 9), 5, 4, 4)


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
@pytest.mark.parametrize("latent", [CategoricalLatent(2, 3), GaussianLatent(4)])
def test_decoding_keeps_leading_dimensions(architecture, latent):
    """`(5, 2, 3, *event)` becomes `(5, 2, 3, C, H, W)`, each as if alone; a cost per point."""
    model = VAE((2, 5, 4), latent, hidden=6, architecture=architecture)
    event = latent.prior(torch.zeros(())).event_shape
    points = torch.rand(5, 2, 3, *event, generator=seeded(0))
    decoded = model.decode(points)
    assert decoded.shape == (5, 2, 3, 2, 5, 4)
    torch.testing.assert_close(decoded[4, 1, 2], model.decode(points[4, 1, 2]))
    images = torch.rand(3, 2, 5, 4, generator=seeded(1))
    costs = model.cost(images, points[0])
    assert costs.shape == (2, 3)
    pixels = torch.sigmoid(decoded[0])
    nats = -(images * pixels.log() + (1 - images) * (1 - pixels).log()).sum((-1, -2, -3))
    torch.testing.assert_close(costs, nats)


def test_counts_of_latents_are_checked():
    """No latents, one class and a half are no latent."""
    for make in (lambda: GaussianLatent(0), lambda: CategoricalLatent(2, 1)):
        with pytest.raises(ValueError, match="expected an integer >="):
            make()
    with pytest.raises(ValueError, match=r"latents: .* got 2.5"):
        CategoricalLatent(2.5, 3)  # type: ignore[arg-type]
