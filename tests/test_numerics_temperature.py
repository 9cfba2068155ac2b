"""NUMERICS, "Temperature, masks, extremes" and "Transforms", where no other test holds them."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import Bernoulli, OneHotCategorical

import reparam as rp
from acceptance import needs_compiler, seeded
from reparam.distributions import (
    RelaxedBernoulli,
    RelaxedBernoulliStraightThrough,
    RelaxedOneHotCategorical,
    RelaxedOneHotCategoricalStraightThrough,
)
from reparam.families import family
from reparam.functional import gumbel_softmax, relaxed_topk
from reparam.noise import Noise

INF = float("inf")
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
TAUS = [1.0, 1e-4, 1e-8, 1e-38, 1e-45]
KINDS = [
    RelaxedBernoulli,
    RelaxedBernoulliStraightThrough,
    RelaxedOneHotCategorical,
    RelaxedOneHotCategoricalStraightThrough,
]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
every_tau = pytest.mark.parametrize("tau", TAUS)
logits = torch.randn(8, 5, generator=seeded(0), dtype=torch.float64)
mask = torch.tensor([True, False, True, True, False])


@every_dtype
@every_tau
@pytest.mark.parametrize("kind", KINDS)
def test_relaxed_samples_are_finite_at_every_temperature(kind, dtype, tau):
    """Points, and their gradients for the logits, under a mask; log_prob of them is no NaN."""
    leaf = logits.to(dtype, copy=True).requires_grad_()
    q = kind(tau, logits=leaf, mask=mask)
    y = q.rsample((3,), Noise(seeded(1)))
    assert y.dtype == dtype
    assert y.isfinite().all()
    assert bool(q.support.check(y.detach()).all())
    assert torch.autograd.grad(y.square().sum(), leaf)[0].isfinite().all()
    assert not q.log_prob(y).isnan().any()


@needs_compiler
@pytest.mark.parametrize("hard", [False, True])
def test_every_temperature_is_the_same_compiled(hard):
    """Samples, one for each temperature, and their gradients: in one graph for all dtypes.

    Of logits up to 1e4 under a mask, at one key. Finite, and what eager mode gives.
    """

    def step(tables: list[Tensor], taus: Tensor) -> list[Tensor]:
        return [gumbel_softmax(x, taus, hard, key=3, mask=mask) for x in tables]

    torch._dynamo.reset()
    rows = (logits * torch.tensor([1.0] * 7 + [1e4]).view(8, 1)).expand(len(TAUS), 8, 5)
    taus = torch.tensor(TAUS).view(-1, 1)
    results = []
    for function in (step, torch.compile(step, fullgraph=True)):
        tables = [rows.to(dtype, copy=True).requires_grad_() for dtype in DTYPES]
        samples = function(tables, taus)
        total = torch.stack([y.double().square().sum() for y in samples]).sum()
        results.append([*samples, *torch.autograd.grad(total, tables)])
    for eager, compiled in zip(*results, strict=True):
        assert compiled.isfinite().all()
        torch.testing.assert_close(compiled, eager)


@every_dtype
@every_tau
@pytest.mark.parametrize("estimator", [rp.GumbelSoftmax, rp.StraightThroughGumbelSoftmax])
@pytest.mark.parametrize("law", [Bernoulli, OneHotCategorical])
def test_estimators_are_finite_at_every_temperature(estimator, law, dtype, tau):
    """Points and gradients, also of logits at 1e4, which never turn to NaN."""
    leaf = (logits * torch.tensor([1.0] * 7 + [1e4]).view(8, 1)).to(dtype).requires_grad_()
    draw = estimator(tau).draw(law(logits=leaf), 2, generator=seeded(1))
    assert draw.points.isfinite().all()
    costs = draw.points.square()
    costs = costs.sum(-1) if law is OneHotCategorical else costs
    gradient = torch.autograd.grad(draw.combine(costs).sum(), leaf)[0]
    assert gradient.isfinite().all()


@every_dtype
def test_the_gradient_lives_in_logit_space(dtype):
    """dz/dlogit = 1 for |logit| up to 1e4, at fixed noise, of estimators and distributions."""
    leaf = torch.tensor([-1e4, -100.0, -17, 0, 17, 1e4], dtype=dtype, requires_grad=True)
    z = family(Bernoulli(logits=leaf)).perturb(1, Noise(seeded(0)))
    log = RelaxedBernoulli(0.5, logits=leaf).log_rsample() * 0.5
    for values in (z, log):
        slope = torch.autograd.grad(values.sum(), leaf)[0]
        assert slope.tolist() == pytest.approx([1] * 6, abs=1e-3)


@every_dtype
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("sample", ["gumbel_softmax", "relaxed_topk"])
def test_a_learned_temperature_under_a_mask_is_the_subvectors(sample, hard, dtype):
    """Value and gradients equal those of the allowed classes alone at the same noise: to 1e-5.

    In half precision, to the last bit that a gradient of 2 keeps.
    """
    noise = torch.rand(8, 5, generator=seeded(1)).double()
    rows = (logits - (-noise.log()).log()).to(dtype)
    weight = torch.linspace(-1, 2, 5).to(dtype)

    def alone(z: Tensor, tau: Tensor, weight: Tensor, mask: Tensor | None) -> Tensor:
        if sample == "gumbel_softmax":
            y = gumbel_softmax(z, tau, hard, mask=mask)
        else:
            y = relaxed_topk(z, 2, tau, hard, mask=mask)
            y = y[0] if isinstance(y, tuple) else y
        return (y * weight).sum()

    results = []
    for z, w, m in ((rows, weight, mask), (rows[:, mask], weight[mask], None)):
        leaf, tau = z.clone().requires_grad_(), torch.tensor(0.5, dtype=dtype, requires_grad=True)
        # Noise of zero for both: the classes' own are in the logits already.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Noise, "gumbel", lambda _, n, like: _zeros(n, like))
            value = alone(leaf, tau, w, m)
        slopes = torch.autograd.grad(value, [leaf, tau])
        results.append((value, slopes[0] if m is None else slopes[0][:, mask], slopes[1]))
        if m is not None:
            assert slopes[0][:, ~mask].eq(0).all()
    tight = 1e-5 if dtype.itemsize > 2 else 2 * torch.finfo(dtype).eps
    for masked, subvector in zip(*results, strict=True):
        torch.testing.assert_close(masked, subvector, rtol=tight, atol=2 * tight)


def _zeros(n: int, like: Tensor) -> Tensor:
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    return torch.zeros(n, *like.shape, dtype=dtype)


@every_dtype
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1,), (0, 3), (2, 0, 3)])
def test_one_class_and_no_rows_are_fine(kind, shape, dtype):
    """One class is certain, of density 1 and entropy 0; no rows give no rows."""
    q = kind(0.5, logits=torch.zeros(shape, dtype=dtype))
    y = q.rsample((4,))
    assert y.shape == (4, *shape)
    assert q.log_prob(y).shape == (4, *q.batch_shape)
    assert q.entropy().shape == q.batch_shape
    if q.event_shape == (1,):
        assert y.eq(1).all()
        assert q.log_prob(y).eq(0).all()
        assert q.entropy() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_layouts_do_not_matter(kind):
    """Logits that are transposed, strided or expanded give what their copies give."""
    wide = torch.randn(10, 6, generator=seeded(1))
    for x in (wide.T, wide[::2, ::3], wide[:1].expand(7, 6)):
        q, copy = kind(0.5, logits=x), kind(0.5, logits=x.contiguous())
        y, z = (p.rsample((3,), Noise(key=1)) for p in (q, copy))
        torch.testing.assert_close(y, z)
        torch.testing.assert_close(q.log_prob(y), copy.log_prob(z))


def sampled(hard: bool):
    """gumbel_softmax at one key, of logits and a temperature."""
    return lambda x, tau: gumbel_softmax(x, tau, hard, key=3)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("in_dims", [(0, None), (None, 0), (0, 0)])
def test_a_sample_vectorizes_over_logits_and_temperatures(hard, in_dims):
    """vmap of the sample and of its gradients, at one key, is a loop over the calls."""
    taus = torch.linspace(0.3, 2, 8).double()
    arguments = tuple(v if d == 0 else v[0] for v, d in zip((logits, taus), in_dims, strict=True))
    rows = [
        tuple(v[i] if d == 0 else v for v, d in zip(arguments, in_dims, strict=True))
        for i in range(8)
    ]

    def loss(x: Tensor, tau: Tensor) -> Tensor:
        return (sampled(hard)(x, tau) * torch.arange(5)).sum()

    for function in (sampled(hard), torch.func.grad(loss), torch.func.grad(loss, 1)):
        together = torch.vmap(function, in_dims)(*arguments)
        apart = torch.stack([function(*row) for row in rows])
        torch.testing.assert_close(together, apart, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("hard", [False, True])
def test_forward_mode_agrees_with_reverse_mode(hard):
    """The jvp of a sample at one key is its Jacobian from backward, applied to the tangents."""
    primals = (logits, torch.tensor(0.6).double())
    tangents = (logits.flip(0), torch.tensor(-0.3).double())
    _, forward = torch.func.jvp(sampled(hard), primals, tangents)
    rows, column = torch.func.jacrev(sampled(hard), (0, 1))(*primals)
    torch.testing.assert_close(
        forward, (rows * tangents[0]).sum((-1, -2)) + column * tangents[1], rtol=1e-9, atol=1e-12
    )


def test_a_sample_has_exact_first_and_second_derivatives():
    """At one key, in the logits and the temperature, with a mask; the backward pass is right."""
    leaves = (logits[:2].clone().requires_grad_(), torch.tensor(0.6).double().requires_grad_())
    for check in (gradcheck, gradgradcheck):
        assert check(lambda x, tau: gumbel_softmax(x, tau, key=3, mask=mask), leaves)
