"""NUMERICS, "Relaxed densities": in every dtype, eager and compiled, beyond test_relaxed_*."""

import math

import mpmath as mp
import pytest
import torch
from torch import Tensor

from reparam.distributions import RelaxedBernoulli, RelaxedOneHotCategorical
from reparam.noise import Noise

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
every_temperature = pytest.mark.parametrize("t", [1.0, 0.5, 0.2, 0.1, 0.05, 0.01])
KL = 2 / math.tanh(1) - 2


def of_two(t, logits, x):
    """Maddison et al. 2017, appendix B, at the logit x of y."""
    (a,) = logits
    y, z = 1 / (1 + mp.exp(-x)), 1 / (1 + mp.exp(x))
    return mp.log(t * mp.exp(a) * (y * z) ** (-t - 1) / (mp.exp(a) * y**-t + z**-t) ** 2)


def of_many(t, logits, *logs):
    """Maddison et al. 2017, definition 1, at log y."""
    k, pairs = len(logits), list(zip(logits, logs, strict=True))
    top = mp.factorial(k - 1) * t ** (k - 1) * mp.fprod(mp.exp(a - (t + 1) * x) for a, x in pairs)
    return mp.log(top / mp.fsum(mp.exp(a - t * x) for a, x in pairs) ** k)


CASES = {
    "bernoulli": (RelaxedBernoulli, [2.0], of_two),
    "categorical": (RelaxedOneHotCategorical, [2.0, 0.0, -1.0], of_many),
}


@every_dtype
@every_temperature
@pytest.mark.parametrize("name", CASES)
def test_the_densities_of_own_samples_are_mpmaths(name, t, dtype):
    """Error below 1e-3 nats (1e-9 in float64), saturated or not; the coldest in a traced graph."""
    kind, logits, true = CASES[name]

    def sampled(logits: Tensor) -> tuple[Tensor, Tensor]:
        q = kind(t, logits=logits, validate_args=False)
        log = q.log_rsample((60,), Noise(key=2))
        return log, q.log_prob_of_log(log)

    if t == 0.01:
        torch._dynamo.reset()
        sampled = torch.compile(sampled, fullgraph=True, backend="aot_eager")
    parameter = torch.tensor(logits if name == "categorical" else logits[0], dtype=dtype)
    held = kind(t, logits=parameter).temperature.item()
    log, density = sampled(parameter)
    rows = log.reshape(60, -1).tolist()
    with mp.workdps(50):
        exact = [true(mp.mpf(held), logits, *(mp.mpf(x) for x in row)) for row in rows]
        worst = max(abs(p - q) for p, q in zip(density.tolist(), exact, strict=True))
    assert worst < (1e-9 if dtype == torch.float64 else 1e-3)


@every_dtype
@every_temperature
def test_midpoint_noise_finds_the_divergence(t, dtype):
    """KL(logit 2 || logit 0) is 2 coth(1) - 2 at every temperature, to 1e-3, without chance."""
    q, p = (RelaxedBernoulli(t, logits=torch.tensor(a, dtype=dtype)) for a in (2.0, 0.0))
    u = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    y = q.rsample((10_000,), Noise(uniforms=u))
    assert y.dtype == dtype
    assert (q.log_prob(y) - p.log_prob(y)).double().mean().item() == pytest.approx(KL, abs=1e-3)
    assert q.kl_divergence(p).item() == pytest.approx(KL, abs=1e-6)
    c, d = (
        RelaxedOneHotCategorical(t, logits=torch.tensor([a, 0.0], dtype=dtype)) for a in (2.0, 0.0)
    )
    assert c.kl_divergence(d).item() == pytest.approx(KL, abs=1e-6)


@every_dtype
@pytest.mark.parametrize("t", [1.0, 0.1, 0.01])
def test_every_sample_passes_its_own_check_in_compiled_mode(t, dtype):
    """1000 of 1000, K = 50, of points that keep nothing."""
    torch._dynamo.reset()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def sampled(logits: Tensor) -> Tensor:
        return RelaxedOneHotCategorical(t, logits=logits, validate_args=False).rsample((1000,))

    logits = torch.linspace(-3, 3, 50).to(dtype)
    y = sampled(logits)
    q = RelaxedOneHotCategorical(t, logits=logits)
    assert type(y) is Tensor
    assert bool(q.support.check(y).all())
    assert not q.log_prob(y).isnan().any()


@every_dtype
@pytest.mark.parametrize("compiled", [False, True])
def test_a_shared_exclusion_leaves_the_moments_of_the_rest(compiled, dtype):
    """Divergence and entropy of relaxed categoricals, and their gradients, with a class at -inf."""
    torch._dynamo.reset()

    def moments(a: Tensor, b: Tensor, excluded: int) -> Tensor:
        a, b = (torch.nn.functional.pad(x, (excluded, 0), value=-math.inf) for x in (a, b))
        q = RelaxedOneHotCategorical(0.5, logits=a, validate_args=False)
        p = RelaxedOneHotCategorical(0.5, logits=b, validate_args=False)
        return torch.stack([q.kl_divergence(p), q.entropy()])

    run = torch.compile(moments, fullgraph=True, backend="aot_eager") if compiled else moments
    a = torch.tensor([0.5, 1.0, -2.0], dtype=dtype, requires_grad=True)
    b = torch.tensor([1.0, -1.0, 0.25], dtype=dtype)
    got, wanted = run(a, b, 1), moments(a, b, 0)
    torch.testing.assert_close(got, wanted)
    for i in (0, 1):
        slopes = [torch.autograd.grad(v[i], a, retain_graph=True)[0] for v in (got, wanted)]
        assert slopes[0].isfinite().all()
        torch.testing.assert_close(*slopes)
