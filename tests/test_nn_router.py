"""TopKRouter: the law of its choices, their gradients, masks and auxiliary losses."""

from math import exp, log

import pytest
import torch

import reparam as rp
from acceptance import assert_counts, seeded
from nn_cases import falling
from reparam.distributions import Subset
from reparam.functional import soft_argmax, soft_topk
from reparam.functional.logits import perturbed
from reparam.nn import Routing, TopKRouter
from reparam.noise import Noise

x = torch.randn(2, 5, 6, generator=seeded(0))
every_k = pytest.mark.parametrize("k", [1, 2, 4])


def router(k: int = 2, estimator=None, tau=None) -> TopKRouter:
    """Of 4 experts, with weights large enough to have preferences."""
    module = TopKRouter(6, 4, k, estimator, tau)
    module.linear.weight.data = torch.randn(4, 6, generator=seeded(1))
    return module


@every_k
def test_eval_mode_takes_the_best_and_weighs_them_by_probability(k):
    """Softmax over all experts, then the k largest, best first."""
    module = router(k).eval()
    routing = module(x)
    p = (x @ module.linear.weight.T).softmax(-1)
    values, indices = p.topk(k)
    assert torch.equal(routing.indices, indices)
    torch.testing.assert_close(routing.weights, values)
    dense = routing.dense()
    assert dense.shape == (2, 5, 4)
    assert ((dense > 0).sum(-1) == k).all()
    torch.testing.assert_close(dense.gather(-1, indices), values)


@pytest.mark.parametrize("estimator", [None, "score", "straight-through-gumbel-softmax"])
def test_training_draws_experts_without_replacement(estimator):
    """Chi-square over the 6 pairs, of 20,000 tokens: false fail 1e-7. Weights: probabilities."""
    module, token = router(2, estimator), x[0, 0] / 3
    routing = module(token.expand(20_000, 6), generator=seeded(2))
    assert (routing.indices[:, 0] != routing.indices[:, 1]).all()
    law = Subset(2, routing.logits[0])
    sets = law.enumerate_support()
    k_hot = torch.zeros(20_000, 4).scatter(-1, routing.indices, 1.0)
    counts = (k_hot[:, None] == sets).all(-1).sum(0)
    assert_counts(counts, law.log_prob(sets).exp().detach())
    torch.testing.assert_close(
        routing.weights, routing.logits.softmax(-1).gather(-1, routing.indices)
    )


def test_rows_depend_on_their_own_keys():
    """Keys with the shape of the batch."""
    module, keys = router(), rp.fold_in(0, torch.arange(10).view(2, 5))
    whole = module(x, key=keys)
    part = module(x[1:, 2:4], key=keys[1:, 2:4])
    assert torch.equal(whole.indices[1:, 2:4], part.indices)
    assert not torch.equal(whole.indices, module(x, key=keys + 1).indices)


@every_k
def test_the_score_completes_the_gradient(k):
    """At one draw: the cost's own through the weights, and cost times that of log p(choice)."""
    module, plain = router(k, "score"), router(k)
    routing = module(x, key=4)
    cost = (routing.weights.sum(-1) - 0.3).square()
    value = routing.combine(cost)
    torch.testing.assert_close(value, cost)
    got = torch.autograd.grad(value.sum(), module.linear.weight)[0]
    logits = x @ plain.linear.weight.T
    weights = logits.softmax(-1).gather(-1, routing.indices)
    own = (weights.sum(-1) - 0.3).square()
    k_hot = torch.zeros(2, 5, 4).scatter(-1, routing.indices, 1.0)
    log_p = Subset(k, logits).log_prob(k_hot)
    whole = (own + own.detach() * log_p).sum()
    torch.testing.assert_close(got, torch.autograd.grad(whole, plain.linear.weight)[0])


def test_without_an_estimator_the_choice_has_no_gradient():
    """combine returns the costs, and the weights carry the probabilities' gradient alone."""
    module = router()
    routing = module(x, key=4)
    assert routing.combine(routing.weights) is routing.weights
    p = (x @ module.linear.weight.T).softmax(-1).gather(-1, routing.indices)
    slopes = [torch.autograd.grad(v.sum(), module.linear.weight)[0] for v in (routing.weights, p)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("k", [1, 2])
def test_straight_through_lends_the_choice_the_gradient_of_the_relaxed_one(k):
    """The value is unchanged; the gradient has a second term, p times that of the soft top-k."""
    weight = torch.randn(2, 5, k, generator=seeded(3))
    module = router(k, rp.StraightThroughGumbelSoftmax(), falling())
    for _ in range(2):
        rp.nn.anneal(module)
    tau = falling().at(2)
    routing = module(x, key=5)
    logits = x @ module.linear.weight.T
    p = logits.softmax(-1).gather(-1, routing.indices)
    torch.testing.assert_close(routing.weights, p)
    z = perturbed(logits, 1, Noise(key=5))[0]
    relaxed = soft_argmax(z, tau) if k == 1 else soft_topk(z, k, tau)
    soft = relaxed.gather(-1, routing.indices)
    expected = ((p + p.detach() * soft) * weight).sum()
    got = (routing.weights * weight).sum()
    torch.testing.assert_close(
        *(
            torch.autograd.grad(v, module.linear.weight, retain_graph=True)[0]
            for v in (got, expected)
        ),
        rtol=1e-4,
        atol=1e-5,
    )
    assert torch.equal(routing.combine(p[..., 0]), p[..., 0])


def test_what_the_estimator_learns_is_the_routers():
    """A learned baseline's parameters, in parameters() and in the checkpoint."""
    module = router(1, rp.Score(rp.baselines.Learned(torch.nn.Linear(4, 1))))
    assert "estimator.learned.baseline.network.weight" in module.state_dict()
    routing = module(x, key=1)
    routing.combine(routing.weights.sum(-1)).sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    average = router(1, rp.Score(rp.baselines.MovingAverage()))
    average(x, key=1).combine(torch.ones(2, 5))
    assert average.state_dict()["estimator.learned.baseline.total"] > 0


def test_the_choices_gradient_compiles():
    """Forward, cost and combine in one graph, for every kind of estimator."""
    for estimator, k in ((None, 2), ("score", 1), ("score", 2), ("reinmax", 1)):
        module = router(k, estimator)

        def loss(x, module=module):
            routing = module(x, key=2)
            return routing.combine((routing.weights.sum(-1) - 0.3).square()).sum()

        torch._dynamo.reset()
        compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
        results = [(f(x), module.linear.weight) for f in (loss, compiled)]
        grads = [torch.autograd.grad(*pair)[0] for pair in results]
        torch.testing.assert_close(*grads)


def test_padding_weighs_nothing_and_is_not_counted():
    """Losses, weights and gradients are those of the tokens alone, whatever padding holds."""
    mask = torch.tensor([[1, 1, 0, 1, 0], [1, 0, 0, 1, 1]]).bool()
    module, dirty = router().eval(), x.masked_fill(~mask[..., None], torch.nan)
    padded, alone = module(dirty, mask), module(x[mask])
    torch.testing.assert_close(padded.weights[mask], alone.weights)
    assert (padded.weights[~mask] == 0).all()
    for name in ("load_balance", "z_loss", "importance"):
        values = [getattr(routing, name)() for routing in (padded, alone)]
        torch.testing.assert_close(*values)
        slopes = [
            torch.autograd.grad(v, module.linear.weight, retain_graph=True)[0] for v in values
        ]
        torch.testing.assert_close(*slopes)
    module.train()
    total = module(dirty, mask, key=1).weights.sum()
    assert torch.autograd.grad(total, module.linear.weight)[0].isfinite().all()


def by_hand(routing: Routing) -> tuple[float, float, float]:
    """The three losses, in Python's own numbers."""
    logits = routing.logits.reshape(-1, routing.logits.shape[-1]).tolist()
    indices, weights = (v.reshape(len(logits), -1).tolist() for v in routing[:2])
    tokens, experts, k = len(logits), len(logits[0]), len(indices[0])
    share, mean, importance, z = [0.0] * experts, [0.0] * experts, [0.0] * experts, 0.0
    for row, chosen, weight in zip(logits, indices, weights, strict=True):
        total = sum(exp(v) for v in row)
        z += log(total) ** 2 / tokens
        for i, v in enumerate(row):
            mean[i] += exp(v) / total / tokens
        for i, w in zip(chosen, weight, strict=True):
            share[i] += 1 / tokens / k
            importance[i] += w
    balance = experts * sum(f * p for f, p in zip(share, mean, strict=True))
    average = sum(importance) / experts
    variance = sum((v - average) ** 2 for v in importance) / experts
    return balance, z, variance / average**2


@every_k
def test_the_losses_are_those_of_the_papers(k):
    """Load balance, z-loss and importance, in loops; only P of the balance has a gradient."""
    routing = router(k)(x, key=1)
    got = (routing.load_balance(), routing.z_loss(), routing.importance())
    assert [v.item() for v in got] == pytest.approx(by_hand(routing), rel=1e-5, abs=1e-6)
    assert all(v.shape == () and v.dtype == torch.float32 for v in got)


def test_an_even_router_has_even_losses():
    """One token to each expert: balance 1, importance 0, z-loss log^2 E; all to one: balance E."""
    even = Routing(torch.arange(4)[:, None], torch.full((4, 1), 0.25), torch.zeros(4, 4))
    assert even.load_balance().item() == pytest.approx(1)
    assert even.importance().item() == 0
    assert even.z_loss().item() == pytest.approx(log(4) ** 2)
    logits = torch.zeros(4, 4)
    logits[:, 0] = 50
    one = Routing(torch.zeros(4, 1).long(), torch.ones(4, 1), logits)
    assert one.load_balance().item() == pytest.approx(4)
    assert one.importance().item() == pytest.approx(3)
    empty = router()(torch.zeros(3, 6), torch.zeros(3).bool())
    assert empty.load_balance() == empty.importance() == empty.z_loss() == 0
    nothing = router()(torch.zeros(0, 6))
    assert nothing.load_balance() == nothing.z_loss() == 0


def test_logits_stay_single_under_autocast():
    """As Fedus et al. do: bf16 logits would tie experts and move the balance."""
    module = router().eval()
    with torch.autocast("cpu", torch.bfloat16):
        routing = module(x)
    assert routing.logits.dtype == torch.float32
    assert torch.equal(routing.logits, module(x).logits)
    half = module.bfloat16()(x.bfloat16())
    assert half.logits.dtype == torch.float32
    assert half.weights.dtype == torch.bfloat16


def test_wrong_arguments_are_refused():
    """Sizes and masks."""
    with pytest.raises(ValueError, match="k: expected at most the 4 experts, got 5"):
        TopKRouter(6, 4, 5)
    with pytest.raises(ValueError, match="experts: expected an integer >= 1, got 0"):
        TopKRouter(6, 0)
    with pytest.raises(
        ValueError, match="tau: expected an estimator= with a temperature, got none"
    ):
        router(tau=0.5)
    with pytest.raises(ValueError, match="expected an estimator with a temperature, got Score"):
        router(1, "score", 0.5)
    with pytest.raises(TypeError, match=r"at one point, got Rebar, which does at 3; 'score'"):
        router(1, "rebar")(x)
    with pytest.raises(TypeError, match="mask: expected a boolean tensor"):
        router()(x, torch.ones(2, 5))
    with pytest.raises(
        ValueError, match="mask: expected a shape that broadcasts to that of the to"
    ):
        router()(x, torch.ones(2, 6).bool())
