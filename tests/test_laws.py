"""Every estimator of ESTIMATORS over every problem of PROBLEMS."""

import copy
import itertools
import math
import shutil

import pytest
import torch
from torch.distributions import Bernoulli, Normal

import laws
import reparam as rp
from reparam.baselines import Constant, Learned, MovingAverage
from reparam.families import support
from reparam.problems.nodes import nodes


def warm(baseline):
    """A baseline that has seen a cost already."""
    baseline(torch.tensor([[0.7]], dtype=torch.float64), None)
    return baseline


VARIANTS = [
    rp.Score(Constant(0.7)),
    rp.Score(warm(MovingAverage(0.5))),
    rp.GumbelSoftmax(tau=0.3),
    rp.Fini(order=3),
    rp.SumAndSample(k=2),
    rp.UnorderedSet(k=3),
    rp.UnorderedSet(baseline=False),
]


def instance(cls, problem):
    """An estimator by its defaults, made small enough to integrate."""
    if cls is rp.Relax:
        return rp.Relax(laws.Wave(len(laws.own_shape(problem.q()))))
    if cls is rp.GumbelRao:
        return rp.GumbelRao(k=1)
    return cls(alpha=-0.7) if cls is rp.DoubleCv else cls()


def pairs(keep=lambda _: True, names=tuple(rp.PROBLEMS)):
    """The pairs that fit each other; refusals are checked where they are found."""
    params = []
    for name in names:
        problem = rp.PROBLEMS[name]()
        chosen = [instance(cls, problem) for cls in rp.ESTIMATORS.values()] + VARIANTS
        params += [
            pytest.param(e, name, id=f"{e}-{name}")
            for e in chosen
            if keep(e) and laws.serves(e, problem) and not whole(e, problem)
        ]
    return params


def whole(estimator, problem):
    """Whether an estimator would take the whole support: then it is `Enumerate`."""
    spare = {rp.SumAndSample: 1, rp.UnorderedSet: 0}.get(type(estimator))
    return spare is not None and estimator.k + spare >= len(support(problem.q()))


def integrable(estimator, name):
    """Whether the nodes of a pair are few enough to go through them all."""
    if estimator.multisample and name == "gaussian2":
        return False
    if name == "permutation":  # its nodes serve what is linear in the noise given the outcome
        linear = rp.Score | rp.Rloo | rp.Vimco
        hard = rp.StraightThrough | rp.StraightThroughGumbelSoftmax
        return isinstance(estimator, linear | hard)
    if isinstance(estimator, rp.Rebar | rp.Relax):
        small = ("bernoulli", "categorical3")
        # `test_traces.py` derives the one from the other.
        return name in small or (isinstance(estimator, rp.Relax) and name in ("subset", "ranking"))
    if isinstance(estimator, rp.MeasureValued):
        return name not in ("gaussian", "gaussian2", "exponential", "poisson")
    return not (isinstance(estimator, rp.UnorderedSet) and estimator.k > 2 and name == "vae")


INTEGRABLE = [p for p in pairs() if integrable(*p.values)]


def where(claim):
    """The integrable pairs whose estimator makes a claim."""
    return [p for p in INTEGRABLE if getattr(p.values[0], claim)]


@pytest.mark.parametrize(("estimator", "name"), INTEGRABLE)
def test_value(estimator, name):
    """The value estimates E_q[cost] without bias."""
    laws.value_is_unbiased(estimator, rp.PROBLEMS[name]())


@pytest.mark.parametrize(("estimator", "name"), where("unbiased"))
def test_gradient(estimator, name):
    """The gradients of unbiased estimators are exact in expectation, to q and to the cost."""
    laws.gradient_is_unbiased(estimator, rp.PROBLEMS[name]())
    laws.cost_gradient_is_unbiased(estimator, rp.PROBLEMS[name]())


@pytest.mark.parametrize(("estimator", "name"), [p for p in INTEGRABLE if not p.values[0].unbiased])
def test_cost_gradient_at_hard_points(estimator, name):
    """A straight-through estimator is unbiased towards the cost's own parameters."""
    problem = rp.PROBLEMS[name]()
    if laws.relaxes(estimator, problem):
        with pytest.raises(AssertionError):
            laws.cost_gradient_is_unbiased(estimator, problem)
    else:
        laws.cost_gradient_is_unbiased(estimator, problem)


BIASED = pairs(lambda e: not e.unbiased, ("bits3", "categorical3", "poisson", "binomial"))


@pytest.mark.parametrize(("estimator", "name"), BIASED)
def test_claim_biased(estimator, name):
    """What does not claim to be unbiased has a bias of at least 0.5% somewhere, exactly."""
    problem = rp.PROBLEMS[name]()
    got, truth = laws.both(estimator, problem)
    (leaf,) = problem.params
    assert (got[leaf] - truth[leaf]).norm() > 0.005 * truth[leaf].norm()


@pytest.mark.parametrize(("estimator", "name"), pairs())
def test_claim_exact(estimator, name):
    """An exact estimator has no variance, and every other has some."""
    if estimator.exact:
        laws.gradient_is_exact(estimator, rp.PROBLEMS[name]())
    else:
        with pytest.raises(AssertionError):
            laws.gradient_is_exact(estimator, rp.PROBLEMS[name]())


@pytest.mark.parametrize("estimator", [rp.SumAndSample(k=8), rp.UnorderedSet(k=8)], ids=str)
@pytest.mark.parametrize("name", ["bernoulli", "bits3", "categorical3", "categorical8"])
def test_whole_support_is_exact(estimator, name):
    """Given as many points as there are outcomes, sampling without replacement enumerates."""
    laws.gradient_is_exact(estimator, rp.PROBLEMS[name]())


@pytest.mark.parametrize(("estimator", "name"), pairs())
def test_claim_pathwise(estimator, name):
    """A pathwise gradient lies in the points, so that there is a differentiable sample."""
    problem = rp.PROBLEMS[name]()
    if estimator.pathwise:
        laws.gradient_lies_in_the_points(estimator, problem)
        assert rp.sample(problem.q(), estimator).shape == problem.q().sample().shape
    else:
        with pytest.raises(TypeError, match="sample: expected a pathwise estimator, got"):
            rp.sample(problem.q(), estimator)


@pytest.mark.parametrize(("estimator", "name"), pairs(lambda e: not e.pathwise))
def test_claim_black_box(estimator, name):
    """What claims so needs no derivative of the cost; what needs one says that it does."""
    problem = rp.PROBLEMS[name]()
    if estimator.black_box:
        laws.gradient_needs_no_differentiable_cost(estimator, problem)
    else:
        with pytest.raises(ValueError, match="costs: expected a differentiable function"):
            laws.gradient_needs_no_differentiable_cost(estimator, problem)


@pytest.mark.parametrize(("estimator", "name"), pairs())
def test_rows_are_independent(estimator, name):
    """Points never share noise across batch rows, nor gradients."""
    laws.rows_are_independent(estimator, rp.PROBLEMS[name]())


@pytest.mark.parametrize(("estimator", "name"), pairs())
def test_seeds(estimator, name):
    """A generator decides the draw and leaves the global one alone; else the global seed does."""
    laws.seed_decides(estimator, rp.PROBLEMS[name]())
    laws.global_seed_decides(estimator, rp.PROBLEMS[name]())


@pytest.mark.parametrize(("estimator", "name"), pairs())
def test_precisions_agree(estimator, name):
    """float32 and float64 give the same draw, value and gradient."""
    laws.precisions_agree(estimator, rp.PROBLEMS[name]())


@pytest.mark.parametrize(("estimator", "name"), pairs(names=("bernoulli", "categorical3")))
def test_extreme_logits(estimator, name):
    """Logits of ±1e4 and -inf leave values and gradients finite."""
    laws.extreme_logits_are_finite(estimator, name)


@pytest.mark.parametrize(("estimator", "name"), pairs(names=("bernoulli", "categorical3")))
def test_half_precision(estimator, name):
    """float16 and bfloat16 logits are served like any other."""
    if any(p.dtype == torch.float64 for p in estimator.parameters()):
        estimator = copy.deepcopy(estimator)
        for module in estimator.modules().values():
            module.float()
    laws.half_precision_is_served(estimator, name)


LAYERS = [p.values[0] for p in pairs(lambda e: e.unbiased and not e.multisample, ("bernoulli",))]
# Every layer above and below two of the others says as much as every pair.
NESTED = [
    *itertools.product(LAYERS, [rp.Rloo(), rp.Enumerate()]),
    *itertools.product([rp.Score(), rp.Enumerate()], LAYERS),
]


@pytest.mark.parametrize(("outer", "inner"), NESTED, ids=str)
def test_layers_nest(outer, inner):
    """An inner draw inside an outer cost keeps both layers' gradients exact in expectation."""
    laws.layers_nest(outer, inner)


@pytest.mark.parametrize("inner", [rp.Enumerate()], ids=str)
def test_layers_nest_under_pathwise(inner):
    """A Gaussian layer by its path over a Bernoulli layer by any other way: exact by quadrature."""
    t = torch.arange(-8, 8.05, 0.1, dtype=torch.float64)
    weights = torch.exp(-t.square() / 2) / math.sqrt(2 * math.pi) * 0.1
    x, w = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.4, 0.9))
    outer = rp.Pathwise().draw(Normal(x.expand(len(t)), 1.0), noise=torch.special.ndtr(t)[None])
    draw = inner.draw(Bernoulli(logits=w * outer.points))
    value = (weights * outer.combine(draw.combine((draw.points - 0.3) ** 2))).sum()
    # E over the inner bit in closed form, then the chain rule by hand.
    p = torch.sigmoid(w.detach() * (x.detach() + t))
    slope = weights * 0.4 * p * (1 - p)
    expected = [(slope * w.detach()).sum(), (slope * (x.detach() + t)).sum()]
    for got, truth in zip(torch.autograd.grad(value, [x, w]), expected, strict=True):
        torch.testing.assert_close(got, truth, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("estimator", [rp.Score(), rp.Rloo(), rp.Enumerate()], ids=str)
def test_second_derivatives(estimator):
    """Score-function surrogates are exact in expectation to second order as well."""
    problem = rp.PROBLEMS["categorical3"]()
    weights, noise = nodes(estimator, problem.q(), n := laws.telling_n(estimator))
    params = {k: v.expand(len(weights), *v.shape) for k, v in problem.params.items()}
    draw = estimator.draw(problem.build(params), n, noise=noise)
    value = (weights * draw.combine(problem.cost(draw.points, problem.weight))).sum()
    assert_hessians_agree(value, problem.exact().sum(), problem.params["logits"])


def assert_hessians_agree(a, b, leaf):
    """Both scalars have the same second derivatives in a direction that treats none as equal."""
    direction = torch.linspace(1, 2, leaf.numel(), dtype=leaf.dtype).reshape(leaf.shape)
    rows = []
    for scalar in (a, b):
        (gradient,) = torch.autograd.grad(scalar, leaf, create_graph=True)
        rows.append(torch.autograd.grad((gradient * direction).sum(), leaf)[0])
    torch.testing.assert_close(*rows, rtol=1e-9, atol=1e-9)


def scalar_value(estimator, name):
    """A function of q's parameters, for the transforms, and where to evaluate it."""
    problem = rp.PROBLEMS[name]()
    keys = list(problem.params)
    weight = problem.weight.detach()

    def value(*leaves):
        draw = estimator.draw(problem.build(dict(zip(keys, leaves, strict=True))), 16)
        return draw.combine(problem.cost(draw.points, weight)).sum()

    return value, [v.detach() for v in problem.params.values()]


def traceable(estimator):
    """Whether torch's transforms can go through an estimator: no state, no inner derivative."""
    return not (estimator.modules() or estimator.differentiates)


TRANSFORMED = ["bits3", "categorical3", "gaussian", "exponential"]


@pytest.mark.parametrize(("estimator", "name"), pairs(traceable, TRANSFORMED))
def test_functorch(estimator, name):
    """vmap of grad draws row by row with noise of its own; forward mode agrees with backward."""
    value, leaves = scalar_value(estimator, name)
    gradient = torch.func.grad(value, argnums=tuple(range(len(leaves))))
    twice = [leaf[:1].expand(2, *leaf.shape[1:]) for leaf in leaves]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        rows = torch.func.vmap(gradient, randomness="different")(*twice)
    assert all(g.isfinite().all() for g in rows)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        values = torch.func.vmap(value, randomness="different")(*twice)
    assert estimator.exact or values[0] != values[1]
    tangents = [torch.ones_like(leaf) for leaf in leaves]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        forward = torch.func.jvp(value, tuple(leaves), tuple(tangents))[1]
        torch.manual_seed(0)
        backward = sum((g * t).sum() for g, t in zip(gradient(*leaves), tangents, strict=True))
    torch.testing.assert_close(forward, backward, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("estimator", "name"), pairs(traceable, TRANSFORMED))
def test_compiles_whole(estimator, name):
    """`torch.compile(fullgraph=True)` traces the draw and its gradient without a graph break."""
    torch._dynamo.reset()
    value, leaves = scalar_value(estimator, name)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    compiled = torch.compile(value, fullgraph=True, backend="aot_eager")
    compiled(*leaves).backward()
    assert all(leaf.grad.isfinite().all() for leaf in leaves)


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
def test_compiled_code_runs():
    """The default backend's code gives the exact value where there is no randomness."""
    torch._dynamo.reset()
    value, leaves = scalar_value(rp.Enumerate(), "categorical3")
    compiled = torch.compile(value, fullgraph=True)
    torch.testing.assert_close(compiled(*leaves), value(*leaves))


def test_learned_baseline_disturbs_nobody():
    """Training a baseline changes no gradient of q or of the cost, and reduces its own error."""
    problem = rp.PROBLEMS["bits3"]()
    torch.manual_seed(0)
    estimator = rp.Score(Learned(torch.nn.Linear(3, 1, dtype=torch.float64)))
    laws.gradient_is_unbiased(estimator, problem)
    laws.cost_gradient_is_unbiased(estimator, problem)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=0.05)
    errors = []
    for seed in range(200):
        optimizer.zero_grad()
        draw = estimator.draw(problem.q(), 16, generator=laws.seeded(seed))
        costs = problem.cost(draw.points, problem.weight).detach()
        prediction = estimator.baseline(costs, problem.q())
        errors.append((prediction - problem.exact()).detach().square().mean().item())
        # The user maximizes: the baseline must still learn.
        (-draw.combine(costs).sum()).backward()
        optimizer.step()
    assert sum(errors[-20:]) < 0.05 * sum(errors[:20])
