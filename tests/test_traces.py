"""What the score function sees of perturbed logits, where that is more than their outcome."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

import laws
import reparam as rp
from acceptance import seeded
from reparam.distributions import PlackettLuce, Subset
from reparam.families import family
from reparam.noise import Noise

STRUCTURED = ["subset", "ranking", "permutation"]
RANKED = {"subset": lambda x: Subset(2, x), "ranking": PlackettLuce}


class Relaxation(torch.nn.Module):
    """The cost of REBAR's relaxed points, as RELAX's surrogate."""

    def __init__(self, q: Distribution, cost, tau: float) -> None:
        super().__init__()
        self.value = lambda z: cost(family(q).soft(z, tau))

    def forward(self, z: Tensor) -> Tensor:
        """Perturbed logits `(n, *batch, *own)` -> `(n, *batch)`."""
        return self.value(z)


@pytest.mark.parametrize("name", STRUCTURED)
def test_rebar_is_relax_with_the_relaxed_cost(name):
    """To every parameter of q, draw by draw: so that one's law is the other's."""
    problem = rp.PROBLEMS[name]()
    weight = problem.weight.detach()
    rebar = rp.Rebar(tau=0.5)
    tau = rebar.control["log_tau"].exp().item()
    relax = rp.Relax(Relaxation(problem.q(), lambda points: problem.cost(points, weight), tau))
    slopes = []
    for way in (rebar, relax):
        draw = way.draw(problem.q(), 5, generator=seeded(3))
        value = draw.combine(problem.cost(draw.points, problem.weight))
        slopes.append(torch.autograd.grad(value.sum(), problem.params["logits"])[0])
    torch.testing.assert_close(*slopes, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", RANKED)
def test_conditional_noise_is_differentiable(name):
    """In the logits at fixed noise, against finite differences."""
    logits = torch.tensor([[0.4, -0.6, 0.9], [1.2, 0.0, -0.8]], dtype=torch.float64)
    u = torch.rand(6, 2, 3, generator=seeded(0), dtype=torch.float64)
    q = RANKED[name](logits)
    trace = family(q).trace(family(q).perturb(6, Noise(seeded(1))))

    def z(logits: Tensor) -> Tensor:
        return family(RANKED[name](logits)).condition(trace, Noise(uniforms=u))

    assert torch.autograd.gradcheck(z, logits.requires_grad_())


@pytest.mark.parametrize("name", RANKED)
def test_gumbel_rao_has_the_mean_of_straight_through(name):
    """Over noise given the trace as over all of it: to 1e-3, which the quadrature reaches."""
    problem = rp.PROBLEMS[name]()
    truth = laws.expected(rp.StraightThroughGumbelSoftmax(), problem, 1)["logits"]
    got = laws.expected(rp.GumbelRao(k=1), problem, 1)["logits"]
    torch.testing.assert_close(got, truth, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", STRUCTURED)
def test_a_row_depends_on_its_own_key_alone(name):
    """Rows with keys are the same, one by one, in any batch."""
    problem = rp.PROBLEMS[name]()
    keys = rp.fold_in(1, torch.arange(2))
    rows = {k: v[1:] for k, v in problem.params.items()}
    for way in (rp.Score(), rp.StraightThroughGumbelSoftmax(), rp.Rebar()):
        whole = way.draw(problem.q(), 3, key=keys).points
        alone = way.draw(problem.build(rows), 3, key=keys[1:]).points
        torch.testing.assert_close(whole[:, 1:], alone)


@pytest.mark.parametrize("name", STRUCTURED)
def test_the_control_variate_learns_alone(name):
    """REBAR's parameters get gradients, which change nothing for q."""
    problem = rp.PROBLEMS[name]()
    slopes = []
    for learns in (True, False):
        way = rp.Rebar()
        for p in way.parameters():
            p.requires_grad_(learns)
        draw = way.draw(problem.q(), 4, generator=seeded(0))
        draw.combine(problem.cost(draw.points, problem.weight)).sum().backward()
        slopes.append(problem.params["logits"].grad.clone())
        problem.params["logits"].grad = None
        assert all((p.grad is not None and bool(p.grad)) is learns for p in way.parameters())
    torch.testing.assert_close(*slopes)


WAYS = [rp.Score(), rp.StraightThroughGumbelSoftmax(), rp.GumbelRao(k=2), rp.UnorderedSet()]
SERVED = [(w, n) for n in STRUCTURED for w in WAYS if n != "permutation" or w in WAYS[:2]]


@pytest.mark.parametrize(("way", "name"), SERVED, ids=str)
def test_transforms(way, name):
    """vmap draws rows with their own noise, forward mode agrees, and the compiler goes through."""
    torch._dynamo.reset()
    problem = rp.PROBLEMS[name]()
    logits, weight = problem.params["logits"].detach(), problem.weight.detach()

    def value(logits: Tensor) -> Tensor:
        draw = way.draw(problem.build({"logits": logits}), 64)
        return draw.combine(problem.cost(draw.points, weight)).sum()

    with torch.random.fork_rng():
        torch.manual_seed(0)
        same = logits[:1].expand(2, *logits[:1].shape)
        rows = torch.func.vmap(torch.func.grad(value), randomness="different")(same)
        assert rows.isfinite().all()
        assert not torch.equal(rows[0], rows[1])
        torch.manual_seed(1)
        _, forward = torch.func.jvp(value, (logits,), (logits,))
        torch.manual_seed(1)
        torch.testing.assert_close(forward, (torch.func.grad(value)(logits) * logits).sum())
        leaf = logits.clone().requires_grad_()
        torch.compile(value, fullgraph=True, backend="aot_eager")(leaf).backward()
        assert leaf.grad.isfinite().all()
