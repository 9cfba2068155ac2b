"""The one-hot categorical with excluded classes: entropy and KL of the classes that are left."""

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import Independent, kl_divergence
from torch.distributions import OneHotCategorical as Torchs

import reparam as rp
from acceptance import seeded
from reparam.distributions import OneHotCategorical
from reparam.models import CategoricalLatent

INF = math.inf
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
KINDS = [(OneHotCategorical, OneHotCategorical), (OneHotCategorical, Torchs)]
KINDS.append(KINDS[1][::-1])
mask = torch.tensor([True, False, True, True])


def leaves(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Logits `(2, 4)` of two laws."""
    return [torch.randn(2, 4, generator=seeded(s)).to(dtype).requires_grad_() for s in (0, 1)]


def divergence(a: Tensor, b: Tensor, kinds: tuple[type, type] = KINDS[0]) -> Tensor:
    """Of the laws of two logits, without what the mask excludes."""
    q = kinds[0](logits=a.masked_fill(~mask, -INF), validate_args=False)
    return kl_divergence(q, kinds[1](logits=b.masked_fill(~mask, -INF), validate_args=False))


def entropies(a: Tensor, b: Tensor) -> Tensor:
    """Of both laws, together."""
    both = torch.stack([a, b])
    return OneHotCategorical(logits=both, mask=mask, validate_args=False).entropy().sum(0)


def of_probabilities(log_q: Tensor, log_p: Tensor) -> tuple[Tensor, Tensor]:
    """What `divergence` and `entropies` are, by definition."""
    q, p = log_q.exp(), log_p.exp()
    return (q * (log_q - log_p)).sum(-1), -(q * log_q + p * log_p).sum(-1)


def assert_the_subvectors(got: Tensor, given: list[Tensor], term: int) -> None:
    """Value and gradients of all classes are those of the allowed alone, in float64."""
    wide = [x.detach().double()[:, mask].requires_grad_() for x in given]
    wanted = of_probabilities(*(torch.log_softmax(x, -1) for x in wide))[term]
    dtype = given[0].dtype
    # torch normalizes logits in their own dtype: a few units of its rounding.
    tight = 4 * torch.finfo(dtype).eps
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(got.double(), wanted, rtol=tight, atol=4 * tight)
    slopes = torch.autograd.grad(got.sum(), given, retain_graph=True)
    for slope, true in zip(slopes, torch.autograd.grad(wanted.sum(), wide), strict=True):
        assert slope[:, ~mask].eq(0).all()
        torch.testing.assert_close(slope[:, mask].double(), true, rtol=tight, atol=4 * tight)


@every_dtype
@pytest.mark.parametrize("kinds", KINDS, ids=["ours", "torch's prior", "torch's posterior"])
def test_a_shared_mask_leaves_the_divergence_of_the_rest(kinds, dtype):
    """To the rounding of the logits, where one of the two is of this type."""
    given = leaves(dtype)
    assert_the_subvectors(divergence(*given, kinds), given, 0)


@every_dtype
def test_a_mask_leaves_the_entropy_of_the_rest(dtype):
    """To the rounding of the logits."""
    given = leaves(dtype)
    assert_the_subvectors(entropies(*given), given, 1)


def test_the_same_holds_compiled():
    """In every dtype, as one graph."""
    torch._dynamo.reset()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def both(tables: list[list[Tensor]]) -> list[tuple[Tensor, Tensor]]:
        return [(divergence(*given), entropies(*given)) for given in tables]

    tables = [leaves(dtype) for dtype in DTYPES]
    # torch cannot trace its search for the pair's rule, and remembers what it found.
    divergence(*tables[0])
    for given, got in zip(tables, both(tables), strict=True):
        for term in (0, 1):
            assert_the_subvectors(got[term], given, term)


def test_torchs_own_gradient_is_nan_there():
    """Which is why there is another; when it no longer is, this one has done its work."""
    given = leaves()
    value = divergence(*given, (Torchs, Torchs))
    assert value.isfinite().all()
    assert torch.autograd.grad(value.sum(), given[0])[0].isnan().any()


def test_derivatives_are_exact():
    """Against finite differences, with and without a mask."""
    for m in (None, mask):

        def both(a: Tensor, b: Tensor, m: Tensor | None = m) -> tuple[Tensor, Tensor]:
            q, p = (OneHotCategorical(logits=x, mask=m) for x in (a, b))
            return kl_divergence(q, p), q.entropy()

        assert gradcheck(both, leaves())


def test_an_excluded_class_alone_makes_it_infinite():
    """Where p excludes what q does not: without a NaN in any gradient. The reverse is finite."""
    a = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]], requires_grad=True)
    b = torch.tensor([[0.0, -INF, 1.0], [0.0, 3.0, 1.0]], requires_grad=True)
    for one, other, wanted in ((a, b, INF), (b, a, 0.9)):
        got = kl_divergence(OneHotCategorical(logits=one), OneHotCategorical(logits=other))
        assert got[1].isfinite()
        assert got[0] == INF if wanted == INF else got[0].isfinite()
        for slope in torch.autograd.grad(got.sum(), [a, b]):
            assert slope.isfinite().all()
            assert slope[1].abs().sum() > 0


def test_probabilities_of_zero_exclude_exactly():
    """torch makes logits near -16 of them; both ways to say it are one law."""
    p = torch.tensor([0.25, 0.0, 0.75], dtype=torch.float64)
    q = OneHotCategorical(probs=p)
    assert q.logits.tolist() == pytest.approx([math.log(0.25), -INF, math.log(0.75)])
    uniform = Torchs(probs=torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64))
    wanted = math.log(2) + 0.25 * math.log(0.25) + 0.75 * math.log(0.75)
    for other in (uniform, OneHotCategorical(probs=torch.ones(3).double(), mask=p > 0)):
        assert kl_divergence(q, other).item() == pytest.approx(wanted, abs=1e-12)
    assert kl_divergence(OneHotCategorical(probs=p + 0.1), uniform) == INF
    unlikely = OneHotCategorical(logits=torch.tensor([0.0, -800.0]).double())
    even = OneHotCategorical(logits=torch.zeros(2).double())
    assert kl_divergence(even, unlikely).item() == pytest.approx(400 - math.log(2))


def test_it_is_torchs_in_all_else():
    """Shapes, expand, Independent, moments, samples, and what estimators make of it."""
    a = leaves()[0]
    q = OneHotCategorical(logits=a, mask=mask).expand((3, 2))
    assert isinstance(q, OneHotCategorical)
    assert (q.batch_shape, q.event_shape) == ((3, 2), (4,))
    p = torch.softmax(a.masked_fill(~mask, -INF), -1)
    torch.testing.assert_close(q.mean, p.expand(3, 2, 4))
    assert q.sample((500,))[..., 1].eq(0).all()
    other = Independent(Torchs(probs=p).expand((3, 2)), 1)
    assert kl_divergence(Independent(q, 1), other).tolist() == pytest.approx([0] * 3)
    for name in ("rloo", "gumbel-softmax", "reinmax", "rebar"):
        draw = rp.estimator(name).draw(q, 2, key=1)
        assert draw.points[..., 1].eq(0).all()
        value = draw.combine((draw.points * torch.arange(4)).sum(-1)).sum()
        assert torch.autograd.grad(value, a, retain_graph=True)[0].isfinite().all()


def test_the_latent_of_a_vae_may_be_masked():
    """Its KL and gradient against the uniform prior, of encoder outputs at -inf."""
    latent = CategoricalLatent(units=1, classes=4)
    a = leaves()[0]
    q = latent.posterior(a.masked_fill(~mask, -INF))
    got = latent.kl(q)
    wanted = kl_divergence(q, latent.prior(a).expand((2,)))
    torch.testing.assert_close(got.squeeze(-1), wanted)
    assert torch.autograd.grad(got.sum() + wanted.sum(), a)[0].isfinite().all()


@pytest.mark.parametrize(
    ("given", "mask", "error", "message"),
    [
        ((None, None), None, ValueError, "exactly one of probs= and logits=, got neither"),
        ((torch.ones(2), torch.ones(2)), None, ValueError, "got both"),
        ((None, torch.ones(2).int()), None, TypeError, r"convert it with .float\(\)"),
        ((None, torch.ones(2, 0)), None, ValueError, "at least one class along the last dimension"),
        ((None, torch.ones(())), None, ValueError, "at least one class along the last dimension"),
        ((None, torch.ones(2)), torch.ones(2), TypeError, "mask: expected a boolean tensor"),
        ((None, torch.ones(2)), torch.ones(3).bool(), ValueError, "mask: expected a shape"),
        ((None, torch.ones(2)), torch.zeros(2).bool(), ValueError, "found invalid values"),
        ((torch.tensor([-1.0, 2.0]), None), None, ValueError, "found invalid values"),
    ],
)
def test_wrong_arguments_are_refused(given, mask, error, message):
    """Each by a message that names it."""
    with pytest.raises(error, match=message):
        OneHotCategorical(*given, validate_args=True, mask=mask)
