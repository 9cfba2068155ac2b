"""The laws that every estimator keeps, as functions that raise AssertionError.

They live apart from the tests that apply them, so that `test_classic_bugs.py` can show that a wrong
estimator breaks them. Expectations are computed, not sampled: over every outcome of the draw, and
over the noise given the outcome where the gradient depends on it.
"""

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, OneHotCategorical

import reparam as rp
from reparam import Enumerate, Estimator
from reparam.families import is_discrete, support
from reparam.problems import Problem
from reparam.problems.nodes import nodes
from reparam.problems.traces import noise_event

EXACT = {"rtol": 1e-9, "atol": 1e-9}


def expected(estimator: Estimator, problem: Problem, n: int) -> dict[str, Tensor]:
    """The exact expectation of an estimator's value and of its gradients.

    Every combination of outcome and noise nodes becomes one leading batch row of one draw, and
    its weight in the expectation multiplies what `combine` returns for it.
    """
    weights, noise = nodes(estimator, problem.q(), n)
    estimator = copy.deepcopy(estimator)  # a baseline may move with every draw
    rows = weights.shape[0]
    params = {k: v.expand(rows, *v.shape) for k, v in problem.params.items()}
    draw = estimator.draw(problem.build(params), n, noise=noise)
    value = weights * draw.combine(problem.cost(draw.points, problem.weight))
    leaves = [*problem.params.values(), problem.weight]
    gradients = torch.autograd.grad(value.sum(), leaves, materialize_grads=True)
    return {
        "value": value.sum(0).detach(),
        **dict(zip([*problem.params, "weight"], gradients, strict=True)),
    }


def exact(estimator: Estimator, problem: Problem, n: int) -> dict[str, Tensor]:
    """The truth that `expected` is held against."""
    value = multisample_bound(problem, n) if estimator.multisample else problem.exact()
    leaves = [*problem.params.values(), problem.weight]
    gradients = torch.autograd.grad(value.sum(), leaves)
    return {
        "value": value.detach(),
        **dict(zip([*problem.params, "weight"], gradients, strict=True)),
    }


def multisample_bound(problem: Problem, n: int) -> Tensor:
    """E log (1/n) sum exp f over n independent points.

    One point after another, by the problem's own rule; for continuous q, over quadrature nodes
    placed by their path.
    """
    q = problem.q()
    if problem.discrete:
        return _bound_given(problem, n, ())
    weights, noise = nodes(rp.Pathwise(), q, n)
    params = {k: v.expand(len(weights), *v.shape) for k, v in problem.params.items()}
    points = rp.Pathwise().draw(problem.build(params), n, noise=noise).points
    costs = problem.cost(points, problem.weight)
    return (weights * (torch.logsumexp(costs, 0) - math.log(n))).sum(0)


def _bound_given(problem: Problem, n: int, costs: tuple[Tensor, ...]) -> Tensor:
    if len(costs) == n:
        return torch.logsumexp(torch.stack(costs), 0) - math.log(n)

    def over_the_next(points: Tensor) -> Tensor:
        each = problem.cost(points, problem.weight)
        return torch.stack([_bound_given(problem, n, (*costs, cost)) for cost in each])

    return problem.integrate(problem.q(), over_the_next)


def telling_n(estimator: Estimator) -> int:
    """1, or 2 for estimators that compare samples: enough to tell right from wrong."""
    if estimator.multisample:
        return 2
    q = Bernoulli(logits=torch.zeros(()))
    try:
        estimator.draw(q)
    except ValueError:
        return 2
    except TypeError:
        return 1
    return 1


def serves(estimator: Estimator, problem: Problem) -> bool:
    """Whether the estimator takes the problem's q, or refuses it with a proper TypeError."""
    try:
        estimator.draw(problem.q(), telling_n(estimator))
    except TypeError as error:
        message = str(error)
        assert message.startswith("q: expected "), message
        assert "got" in message, message
        assert any(word in message for word in ("use ", "serve")), message
        return False
    return True


def relaxes(estimator: Estimator, problem: Problem) -> bool:
    """Whether the cost is evaluated off the support: then the value is biased as well."""
    if not (problem.discrete and estimator.pathwise):
        return False
    points = estimator.draw(problem.q(), telling_n(estimator)).points
    return not bool((points == points.round()).all())


def both(estimator: Estimator, problem: Problem) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What the estimator expects, and the truth, with as few samples as it takes."""
    n = telling_n(estimator)
    return expected(estimator, problem, n), exact(estimator, problem, n)


# The laws.


def value_is_unbiased(estimator: Estimator, problem: Problem) -> None:
    """E[combine] is E_q[cost]; for relaxed points, in the limit of low temperature."""
    tolerance = EXACT
    if relaxes(estimator, problem):
        estimator, tolerance = replace(estimator, tau=1e-3), {"rtol": 2e-3, "atol": 0.0}
    got, truth = both(estimator, problem)
    torch.testing.assert_close(got["value"], truth["value"], **tolerance)


def gradient_is_unbiased(estimator: Estimator, problem: Problem) -> None:
    """The expected gradient in q's parameters is the exact one."""
    got, truth = both(estimator, problem)
    for name in problem.params:
        torch.testing.assert_close(got[name], truth[name], **EXACT)


def cost_gradient_is_unbiased(estimator: Estimator, problem: Problem) -> None:
    """The expected gradient in the cost's own parameters is the exact one, at hard points."""
    got, truth = both(estimator, problem)
    torch.testing.assert_close(got["weight"], truth["weight"], **EXACT)


def gradient_is_exact(estimator: Estimator, problem: Problem) -> None:
    """Two draws give the same, exact gradient: there is no variance."""
    truth = exact(estimator, problem, 1)
    for seed in range(2):
        value, gradients = one_gradient(estimator, problem, seed)
        torch.testing.assert_close(value, truth["value"], **EXACT)
        for name in problem.params:
            torch.testing.assert_close(gradients[name], truth[name], **EXACT)


def gradient_lies_in_the_points(estimator: Estimator, problem: Problem) -> None:
    """Detached points leave nothing to differentiate in q's parameters."""
    draw = estimator.draw(problem.q(), telling_n(estimator))
    assert draw.points.requires_grad
    value = draw.combine(problem.cost(draw.points.detach(), problem.weight.detach()))
    assert not value.requires_grad


def gradient_needs_no_differentiable_cost(estimator: Estimator, problem: Problem) -> None:
    """A black-box cost suffices: the points carry no gradient, the result does."""
    draw = estimator.draw(problem.q(), telling_n(estimator))
    with torch.no_grad():
        costs = problem.cost(draw.points, problem.weight)
    assert draw.combine(costs).requires_grad


def rows_are_independent(estimator: Estimator, problem: Problem) -> None:
    """Equal rows draw different points, and one row's cost moves only its own parameters."""
    params = {k: v[:1].detach().expand(2, *v.shape[1:]).clone() for k, v in problem.params.items()}
    params = {k: v.requires_grad_() for k, v in params.items()}
    draw = estimator.draw(problem.build(params), 64, generator=seeded(0))
    points = draw.points.detach()
    assert estimator.exact or not torch.equal(points[:, 0], points[:, 1])
    # The cost is taken at the rows' own weights so that it, too, has two rows.
    value = draw.combine(_first_rows(problem, draw.points))
    for name, gradient in zip(
        params, torch.autograd.grad(value[0], list(params.values())), strict=True
    ):
        assert gradient[0].abs().sum() > 0, name
        assert gradient[1].abs().sum() == 0, name


def _first_rows(problem: Problem, points: Tensor) -> Tensor:
    """Costs of points whose two rows stand for the problem's first row."""
    rows = problem.q().batch_shape[0]
    padded = points[:, :1].expand(-1, rows, *points.shape[2:])
    return torch.stack(
        [
            problem.cost(torch.cat([points[:, i : i + 1], padded[:, 1:]], 1), problem.weight)[:, 0]
            for i in range(2)
        ],
        1,
    )


def seed_decides(estimator: Estimator, problem: Problem) -> None:
    """The same generator state gives the same draw; the global generator is not touched."""
    before = torch.get_rng_state()
    (a, b, c) = (one_gradient(estimator, problem, seed, n=64) for seed in (0, 0, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(a[0], b[0])
    for name in problem.params:
        assert torch.equal(a[1][name], b[1][name])
    assert estimator.exact or not torch.equal(a[0], c[0])


def global_seed_decides(estimator: Estimator, problem: Problem) -> None:
    """Without a generator, `torch.manual_seed` does."""
    results = []
    with torch.random.fork_rng():
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            results.append(estimator.draw(problem.q(), 8).points.detach())
    assert torch.equal(results[0], results[1])
    assert estimator.exact or not torch.equal(results[0], results[2])


def precisions_agree(estimator: Estimator, problem: Problem) -> None:
    """float32 gives float64's result to float32's rounding, in float32."""
    n = telling_n(estimator)
    q = problem.q()
    noise = torch.rand(noise_shape(estimator, q, n), generator=seeded(0)).double()
    noise = noise.clamp(0.01, 0.99)
    results = []
    for dtype in (torch.float64, torch.float32):
        params = {k: v.detach().to(dtype).requires_grad_() for k, v in problem.params.items()}
        draw = copy.deepcopy(estimator).draw(problem.build(params), n, noise=noise)
        assert draw.points.dtype == dtype
        costs = problem.cost(draw.points.double(), problem.weight).to(dtype)
        value = draw.combine(costs)
        assert value.dtype == dtype
        results.append((value, torch.autograd.grad(value.sum(), list(params.values()))))
    torch.testing.assert_close(results[0][0].float(), results[1][0], rtol=1e-4, atol=1e-5)
    for a, b in zip(results[0][1], results[1][1], strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a.float(), b, rtol=1e-3, atol=1e-4)


def layers_nest(outer: Estimator, inner: Estimator) -> None:
    """Two stochastic layers are two draws; both layers' gradients are exact in expectation.

    E over a ~ Bernoulli(x), b ~ Bernoulli(y + w a) of (b - a/2 - .3)^2 + a b.
    """
    for a, b in zip(_nested(outer, inner), _nested(Enumerate(), Enumerate()), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def _nested(outer: Estimator, inner: Estimator) -> list[Tensor]:
    """Expected value and gradients in (x, y, w), over all nodes of both layers."""
    x, y, w = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.4, -0.3, 0.9))
    weights, noise = nodes(outer, Bernoulli(logits=x), telling_n(outer))
    q = Bernoulli(logits=x.expand(len(weights)))
    first = outer.draw(q, telling_n(outer), noise=noise)
    a = first.points
    logits = y + w * a
    inner_weights, inner_noise = nodes(inner, Bernoulli(logits=logits), telling_n(inner))
    q = Bernoulli(logits=logits.expand(len(inner_weights), *logits.shape))
    second = inner.draw(q, telling_n(inner), noise=inner_noise)
    b = second.points
    costs = (inner_weights * second.combine((b - a / 2 - 0.3) ** 2 + a * b)).sum(0)
    total = (weights * first.combine(costs)).sum()
    return [total.detach(), *torch.autograd.grad(total, [x, y, w])]


def extreme_logits_are_finite(estimator: Estimator, name: str) -> None:
    """Logits of ±1e4 and excluded classes (-inf) give finite values and gradients."""
    kind = Bernoulli if name == "bernoulli" else OneHotCategorical
    far = torch.tensor([[1e4, -1e4, 0.0], [0.0, 1e4, 1e4]])
    shut = torch.tensor([[0.0, -torch.inf, 1.0], [-torch.inf, 0.0, 2.0]])
    for logits in (far, shut) if kind is OneHotCategorical else (far,):
        for dtype in (torch.float64, torch.float32):
            leaf = logits.to(dtype).requires_grad_()
            draw = estimator.draw(kind(logits=leaf, validate_args=False), 4, generator=seeded(0))
            weight = torch.linspace(-1, 1, 3, dtype=dtype)
            costs = (draw.points * weight).square()
            value = draw.combine(costs.sum(-1) if kind is OneHotCategorical else costs)
            value.sum().backward()
            assert value.isfinite().all()
            assert leaf.grad.isfinite().all()


def half_precision_is_served(estimator: Estimator, name: str) -> None:
    """Half-precision logits give points of their dtype and finite gradients."""
    kind = Bernoulli if name == "bernoulli" else OneHotCategorical
    for dtype in (torch.float16, torch.bfloat16):
        leaf = torch.tensor([[0.5, -1.0, 2.0], [0.0, 3.0, -2.0]], dtype=dtype).requires_grad_()
        draw = estimator.draw(kind(logits=leaf, validate_args=False), 64, generator=seeded(0))
        assert draw.points.dtype == dtype
        costs = (draw.points.float() * torch.linspace(-1, 1, 3)).square()
        costs = (costs.sum(-1) if kind is OneHotCategorical else costs).to(dtype)
        value = draw.combine(costs)
        value.float().sum().backward()
        assert value.isfinite().all()
        assert leaf.grad.isfinite().all()
        assert leaf.grad.abs().sum() > 0


def one_gradient(
    estimator: Estimator, problem: Problem, seed: int, n: int = 4
) -> tuple[Tensor, dict[str, Tensor]]:
    """One draw's value and gradients, the estimator's own state left as it was."""
    estimator = copy.deepcopy(estimator)
    draw = estimator.draw(problem.q(), n, generator=seeded(seed))
    value = draw.combine(problem.cost(draw.points, problem.weight))
    gradients = torch.autograd.grad(value.sum(), list(problem.params.values()))
    return value.detach(), dict(zip(problem.params, gradients, strict=True))


class Wave(torch.nn.Module):
    """A smooth surrogate for RELAX over `event` dimensions, with parameters of its own."""

    def __init__(self, event: int) -> None:
        super().__init__()
        self.dims = tuple(range(-event, 0))
        self.height = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        """Perturbed logits `(n, *batch, *event)` -> `(n, *batch)`."""
        wave = self.height.to(z.dtype) * torch.sin(z.clamp(-20, 20)) + torch.tanh(z / 2)
        return wave.sum(self.dims) if self.dims else wave


def own_shape(q: Distribution) -> torch.Size:
    """The shape of a row's perturbed logits; of what has none, its event shape."""
    return noise_event(q) if is_discrete(q) else q.event_shape


def noise_shape(estimator: Estimator, q: Distribution, n: int) -> tuple[int, ...]:
    """The shape of the uniforms that an estimator takes."""
    event = own_shape(q)
    if isinstance(estimator, rp.SumAndSample | rp.UnorderedSet):
        event = (len(support(q)),)
    parts = ()
    if isinstance(estimator, rp.Rebar | rp.Relax | rp.DoubleCv):
        parts = (2,)
    elif isinstance(estimator, rp.GumbelRao):
        parts = (1 + estimator.k,)
    elif isinstance(estimator, rp.MeasureValued):
        base = q.base_dist if hasattr(q, "base_dist") else q
        parts = (1 + {"Normal": 4, "Exponential": 2, "Poisson": 1}.get(type(base).__name__, 0),)
    return (*parts, n, *q.batch_shape, *event)


def seeded(seed: int) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)
