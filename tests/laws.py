"""The laws that every estimator keeps, as functions that raise AssertionError.

They live apart from the tests that apply them, so that `test_classic_bugs.py` can show that a wrong
estimator breaks them. Expectations are computed, not sampled: over every outcome of the draw, and
over the noise given the outcome where the gradient depends on it.
"""

import copy
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, OneHotCategorical

from reparam import Enumerate, Estimator
from reparam.families import family, log_prob, support
from reparam.noise import Noise
from reparam.problems import Problem

EXACT = {"rtol": 1e-9, "atol": 1e-9}
MOST_NODES = 200_000


def expected(estimator: Estimator, problem: Problem, n: int) -> dict[str, Tensor]:
    """The exact expectation of an estimator's value and of its gradients.

    Every combination of outcome and noise nodes becomes one leading batch row of one draw, and
    its weight in the expectation multiplies what `combine` returns for it.
    """
    weights, noise = nodes(estimator, problem, n)
    estimator = copy.deepcopy(estimator)  # a baseline may move with every draw
    rows = weights.shape[0]
    params = {k: v.expand(rows, *v.shape) for k, v in problem.params.items()}
    draw = estimator.draw(problem.build(params), n, noise=noise)
    value = weights * draw.combine(problem.cost(draw.points, problem.weight))
    leaves = [*problem.params.values(), problem.weight]
    gradients = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
    return {
        "value": value.sum(0).detach(),
        **dict(zip([*problem.params, "weight"], gradients, strict=True)),
    }


def exact(problem: Problem) -> dict[str, Tensor]:
    """The truth that `expected` is held against."""
    value = problem.exact()
    leaves = [*problem.params.values(), problem.weight]
    gradients = torch.autograd.grad(value.sum(), leaves)
    return {
        "value": value.detach(),
        **dict(zip([*problem.params, "weight"], gradients, strict=True)),
    }


def nodes(estimator: Estimator, problem: Problem, n: int) -> tuple[Tensor, Tensor]:
    """Weights `(rows, *batch)` and uniforms `(n, rows, *batch, *event)`."""
    q = problem.q()
    if estimator.exact:
        return torch.ones(1, *q.batch_shape, dtype=torch.float64), None
    if not problem.discrete:
        return _continuous_nodes(q, n)
    return _discrete_nodes(q, n, depends_on_noise=estimator.pathwise)


def _continuous_nodes(q: Distribution, n: int) -> tuple[Tensor, Tensor]:
    """A trapezoid rule in t with u = Phi(t): exponentially accurate, like the problems' own."""
    dims = n * q.event_shape.numel()
    step = {1: 0.02, 2: 0.1, 4: 0.7}[dims]
    t = _grid(torch.arange(-7.7, 7.7 + step / 2, step, dtype=torch.float64), dims)
    weights = (torch.exp(-t.square() / 2) / math.sqrt(2 * math.pi) * step).prod(-1)
    u = torch.special.ndtr(t).clamp(1e-300, 1 - 2**-53)
    u = u.reshape(-1, n, *[1] * len(q.batch_shape), *q.event_shape).transpose(0, 1)
    shape = (n, len(t), *q.batch_shape, *q.event_shape)
    return _per_row(weights, q), u.expand(shape).contiguous()


def _discrete_nodes(q: Distribution, n: int, depends_on_noise: bool) -> tuple[Tensor, Tensor]:
    """Every tuple of n outcomes, each reached through the noise conditioned on it."""
    outcomes = support(q)
    chances = log_prob(q, outcomes).exp().detach()
    dims = n * outcomes[0].numel() // max(q.batch_shape.numel(), 1) if depends_on_noise else 0
    tuples = list(itertools.product(range(len(outcomes)), repeat=n))
    v_weights, v = _inner_nodes(dims, n, q, most=MOST_NODES // len(tuples))
    points = torch.stack([outcomes[list(t)] for t in tuples], 1)  # (n, tuples, *batch, *event)
    weights = torch.stack([chances[list(t)].prod(0) for t in tuples])  # (tuples, *batch)
    # Pair every tuple with every inner node.
    points = points.repeat_interleave(v.shape[1], 1)
    weights = weights.repeat_interleave(v.shape[1], 0) * _per_row(v_weights, q).repeat(
        len(tuples), *[1] * len(q.batch_shape)
    )
    rows = q.expand((len(weights), *q.batch_shape))
    return weights, uniforms_giving(rows, points, v.repeat(1, len(tuples), *[1] * (v.ndim - 2)))


def _inner_nodes(dims: int, n: int, q: Distribution, most: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes in (0, 1)^dims, as `(nodes,)` and `(n, nodes, *batch, *event)`."""
    shape = (*q.batch_shape, *q.event_shape)
    if dims == 0:
        return torch.ones(1, dtype=torch.float64), torch.full(
            (n, 1, *shape), 0.5, dtype=torch.float64
        )
    per_axis = min(int(most ** (1 / dims)), 60)
    x, w = _gauss_legendre(per_axis)
    v = _grid(x, dims).reshape(-1, n, *[1] * len(q.batch_shape), *q.event_shape)
    weights = _grid(w, dims).prod(-1)
    return weights, v.transpose(0, 1).expand(n, len(weights), *shape)


def _gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on (0, 1), by the eigenvalues of the Jacobi matrix (Golub & Welsch)."""
    k = torch.arange(1, count, dtype=torch.float64)
    off = k / (4 * k**2 - 1).sqrt()
    values, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return (values + 1) / 2, vectors[0].square()


def uniforms_giving(q: Distribution, points: Tensor, v: Tensor) -> Tensor:
    """Uniforms that make q's family draw `points`, and v, within each outcome, its noise."""
    f = family(q)
    with torch.no_grad():
        z = f.condition(points, Noise(uniforms=v)) - f.logits
        u = torch.sigmoid(z) if _is_bernoulli(q) else torch.exp(-torch.exp(-z))
        u = u.clamp(1e-300, 1 - 2**-53)
        assert torch.equal(f.hard(f.perturb(len(points), Noise(uniforms=u))), points)
    return u


def _is_bernoulli(q: Distribution) -> bool:
    while hasattr(q, "base_dist"):
        q = q.base_dist
    assert isinstance(q, Bernoulli | OneHotCategorical | Categorical)
    return isinstance(q, Bernoulli)


def _grid(axis: Tensor, dims: int) -> Tensor:
    return torch.cartesian_prod(*[axis] * dims).reshape(-1, dims)


def _per_row(weights: Tensor, q: Distribution) -> Tensor:
    return weights.reshape(-1, *[1] * len(q.batch_shape)).expand(-1, *q.batch_shape)


def smallest_n(estimator: Estimator) -> int:
    """1, or 2 for estimators that compare samples."""
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
        estimator.draw(problem.q(), smallest_n(estimator))
    except TypeError as error:
        message = str(error)
        assert message.startswith("q: expected "), message
        assert "got" in message, message
        assert any(word in message for word in ("use ", "serve")), message
        return False
    return True


def relaxes(estimator: Estimator, problem: Problem) -> bool:
    """Whether the cost is evaluated off the support: then the value is biased as well."""
    if not problem.discrete:
        return False
    points = estimator.draw(problem.q(), smallest_n(estimator)).points
    return not bool(((points == 0) | (points == 1)).all())


# The laws.


def value_is_unbiased(estimator: Estimator, problem: Problem) -> None:
    """E[combine] is E_q[cost]; for relaxed points, in the limit of low temperature."""
    tolerance = EXACT
    if relaxes(estimator, problem):
        estimator, tolerance = replace(estimator, tau=1e-3), {"rtol": 2e-3, "atol": 0.0}
    got = expected(estimator, problem, smallest_n(estimator))["value"]
    torch.testing.assert_close(got, exact(problem)["value"], **tolerance)


def gradient_is_unbiased(estimator: Estimator, problem: Problem) -> None:
    """The expected gradient in q's parameters is the exact one."""
    got, truth = expected(estimator, problem, smallest_n(estimator)), exact(problem)
    for name in problem.params:
        torch.testing.assert_close(got[name], truth[name], **EXACT)


def cost_gradient_is_unbiased(estimator: Estimator, problem: Problem) -> None:
    """The expected gradient in the cost's own parameters is the exact one, at hard points."""
    got, truth = expected(estimator, problem, smallest_n(estimator)), exact(problem)
    torch.testing.assert_close(got["weight"], truth["weight"], **EXACT)


def gradient_is_exact(estimator: Estimator, problem: Problem) -> None:
    """Two draws give the same, exact gradient: there is no variance."""
    truth = exact(problem)
    for seed in range(2):
        value, gradients = one_gradient(estimator, problem, seed)
        torch.testing.assert_close(value, truth["value"], **EXACT)
        for name in problem.params:
            torch.testing.assert_close(gradients[name], truth[name], **EXACT)


def gradient_lies_in_the_points(estimator: Estimator, problem: Problem) -> None:
    """Detached points leave nothing to differentiate in q's parameters."""
    draw = estimator.draw(problem.q(), smallest_n(estimator))
    assert draw.points.requires_grad
    value = draw.combine(problem.cost(draw.points.detach(), problem.weight.detach()))
    assert not value.requires_grad


def gradient_needs_no_differentiable_cost(estimator: Estimator, problem: Problem) -> None:
    """A black-box cost suffices: the points carry no gradient, the result does."""
    draw = estimator.draw(problem.q(), smallest_n(estimator))
    assert not draw.points.requires_grad
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
    first = torch.stack(
        [
            problem.cost(torch.cat([points[:, i : i + 1], padded[:, 1:]], 1), problem.weight)[:, 0]
            for i in range(2)
        ],
        1,
    )
    return first


def seed_decides(estimator: Estimator, problem: Problem) -> None:
    """The same generator state gives the same draw; the global generator is not touched."""
    before = torch.get_rng_state()
    (a, b, c) = (one_gradient(estimator, problem, seed) for seed in (0, 0, 1))
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
    n = smallest_n(estimator)
    q = problem.q()
    noise = torch.rand((n, *q.batch_shape, *q.event_shape), generator=seeded(0)).double()
    noise = noise.clamp(0.01, 0.99)
    results = []
    for dtype in (torch.float64, torch.float32):
        params = {
            k: v.detach().to(dtype).requires_grad_() for k, v in problem.params.items()
        }
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
    """Expected value and gradients in (x, y, w), over all outcomes of both layers.

    An inner outcome is weighted by its chance given the outer point that it belongs to.
    """
    x, y, w = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.4, -0.3, 0.9))
    total = torch.zeros((), dtype=torch.float64)
    at_first = outer, inner
    for outer_chance, outer_noise in _outcomes_of(outer, x):
        outer = copy.deepcopy(at_first[0])
        first = outer.draw(Bernoulli(logits=x), smallest_n(outer), noise=outer_noise)
        a = first.points
        logits = y + w * a
        costs = torch.zeros_like(a)
        for inner_chance, inner_noise in _outcomes_of(inner, logits):
            inner = copy.deepcopy(at_first[1])
            second = inner.draw(Bernoulli(logits=logits), smallest_n(inner), noise=inner_noise)
            b = second.points
            costs = costs + inner_chance * second.combine((b - a / 2 - 0.3) ** 2 + a * b)
        total = total + outer_chance * first.combine(costs)
    return [total.detach(), *torch.autograd.grad(total, [x, y, w])]


def _outcomes_of(estimator: Estimator, logits: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Every tuple of outcomes of Bernoulli(logits): its chance `(*batch)`, its noise."""
    q = Bernoulli(logits=logits.detach())
    if estimator.exact:
        yield torch.ones_like(q.logits), None
        return
    for bits in itertools.product((0.0, 1.0), repeat=smallest_n(estimator)):
        points = torch.stack([torch.full_like(q.logits, b) for b in bits])
        half = torch.full_like(points, 0.5)
        yield q.log_prob(points).sum(0).exp(), uniforms_giving(q, points, half)


def extreme_logits_are_finite(estimator: Estimator) -> None:
    """Logits of ±1e4 and excluded classes (-inf) give finite values and gradients."""
    for dtype in (torch.float64, torch.float32):
        far = torch.tensor([[1e4, -1e4, 0.0], [0.0, 1e4, 1e4]], dtype=dtype)
        shut = torch.tensor([[0.0, -torch.inf, 1.0], [-torch.inf, 0.0, 2.0]], dtype=dtype)
        for logits, q in ((far, OneHotCategorical), (shut, OneHotCategorical), (far, Bernoulli)):
            leaf = logits.clone().requires_grad_()
            draw = estimator.draw(q(logits=leaf, validate_args=False), 4, generator=seeded(0))
            weight = torch.linspace(-1, 1, 3, dtype=dtype)
            costs = (draw.points * weight).square()
            value = draw.combine(costs.sum(-1) if q is OneHotCategorical else costs)
            value.sum().backward()
            assert value.isfinite().all()
            assert leaf.grad.isfinite().all()


def one_gradient(
    estimator: Estimator, problem: Problem, seed: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """One draw's value and gradients, the estimator's own state left as it was."""
    estimator = copy.deepcopy(estimator)
    draw = estimator.draw(problem.q(), 4, generator=seeded(seed))
    value = draw.combine(problem.cost(draw.points, problem.weight))
    gradients = torch.autograd.grad(value.sum(), list(problem.params.values()))
    return value.detach(), dict(zip(problem.params, gradients, strict=True))


def seeded(seed: int) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)
