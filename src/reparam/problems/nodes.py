"""Where to evaluate an estimator so that its expectation is a finite sum: noise and weights.

For the reference problems, whose supports and dimensions are small. `test_laws.py` proves every
estimator's claims with these nodes.
"""

import itertools
import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.core import Estimator
from reparam.distributions import Permutation
from reparam.estimators import (
    Arm,
    Disarm,
    DoubleCv,
    GumbelRao,
    MeasureValued,
    Rebar,
    Relax,
    SumAndSample,
    UnorderedSet,
)
from reparam.families import family, is_discrete, log_prob, support
from reparam.families.counts import is_count
from reparam.problems.grids import every_tuple, gauss_legendre, grid, per_row
from reparam.problems.traces import noise_event, traces, uniforms_giving

MOST_NODES = 200_000


def nodes(estimator: Estimator, q: Distribution, n: int) -> tuple[Tensor, Tensor | None]:
    """Weights `(rows, *batch)` and the noise that the estimator takes, one row per node.

    Enough to integrate the estimator exactly: what its noise decides is gone through outcome by
    outcome; what it depends on smoothly, by quadrature.
    """
    if estimator.exact:
        return torch.ones(1, *q.batch_shape, dtype=torch.float64), None
    special = {
        Arm: _antithetic_nodes,
        Disarm: _antithetic_nodes,
        DoubleCv: _pair_nodes,
        GumbelRao: _conditional_nodes,
        MeasureValued: _base_nodes,
        Rebar: _control_nodes,
        Relax: _control_nodes,
        SumAndSample: _rest_nodes,
        UnorderedSet: _set_nodes,
    }
    if isinstance(q, Permutation):
        return _matching_nodes(q, n)
    if is_count(q) and type(estimator) not in (SumAndSample, UnorderedSet):
        return _count_nodes(q, n)
    if not (is_count(q) or is_discrete(q)):
        return _continuous_nodes(q, n)
    if type(estimator) in special:
        return special[type(estimator)](q, estimator)
    return _discrete_nodes(q, n, depends_on_noise=bool(estimator.anneals))


def _count_nodes(q: Distribution, n: int) -> tuple[Tensor, Tensor]:
    """Every count that is at all likely, by a uniform in the middle of its step of the CDF."""
    largest = {"Poisson": 40, "Binomial": 4, "NegativeBinomial": 120}[type(q).__name__]
    counts = torch.arange(largest + 1, dtype=torch.float64)
    chance = q.log_prob(counts.reshape(-1, *[1] * len(q.batch_shape))).exp().detach()
    middle = (chance.cumsum(0) - chance / 2).clamp(1e-300, 1 - 2**-53)
    weights, u = every_tuple(chance, middle, n)
    likely = (weights > 1e-15).flatten(1).any(1)
    return weights[likely], u[:, likely]


def _antithetic_nodes(q: Distribution, _: Any) -> tuple[Tensor, Tensor]:
    """Two Gauss-Legendre nodes in each of a bit's three pieces: the integrand is linear in u."""
    p = torch.sigmoid(family(q).logits.detach())
    low, high = torch.minimum(p, 1 - p), torch.maximum(p, 1 - p)
    edges = [torch.zeros_like(p), low, high, torch.ones_like(p)]
    x, w = gauss_legendre(2)
    pieces = [(a, b - a, i) for a, b in itertools.pairwise(edges) for i in range(2)]
    bits = q.event_shape.numel()
    weights, rows = [], []
    for choice in itertools.product(range(len(pieces)), repeat=bits):
        columns = range(bits) if q.event_shape else [...]
        u, weight = torch.empty_like(p), torch.ones(q.batch_shape, dtype=torch.float64)
        for column, number in zip(columns, choice, strict=True):
            at: Any = (..., column) if q.event_shape else ...
            start, width, i = pieces[number]
            u[at] = start[at] + width[at] * x[i]
            weight = weight * width[at] * w[i]
        rows.append(u.clamp(1e-300, 1 - 2**-53))
        weights.append(weight)
    return torch.stack(weights), torch.stack(rows)[None]


def _pair_nodes(q: Distribution, _: Any) -> tuple[Tensor, Tensor]:
    """Every pair of outcomes, as noise (2, 1, rows, ...)."""
    weights, u = _discrete_nodes(q, 2, depends_on_noise=False)
    return weights, u[:, None]


def _conditional_nodes(q: Distribution, estimator: Any) -> tuple[Tensor, Tensor]:
    """Every outcome, and quadrature over the one conditional perturbation that k = 1 takes."""
    if estimator.k != 1:
        raise ValueError(
            f"estimator: expected GumbelRao(k=1), whose mean is every k's, got {estimator}"
        )
    chances, u = _discrete_nodes(q, 1, depends_on_noise=False)
    inner, v = _inner_nodes(noise_event(q).numel(), 1, q, most=MOST_NODES // len(chances))
    weights = chances.repeat_interleave(len(inner), 0)
    weights = weights * per_row(inner, q).repeat(len(chances), *[1] * len(q.batch_shape))
    u = u.repeat_interleave(len(inner), 1)
    return weights, torch.stack([u, v.repeat(1, len(chances), *[1] * (v.ndim - 2))])


def _base_nodes(q: Distribution, _: Any) -> tuple[Tensor, Tensor]:
    """Every outcome, as the one part of noise that discrete measures take."""
    weights, u = _discrete_nodes(q, 1, depends_on_noise=False)
    return weights, u[None]


def _rest_nodes(q: Distribution, estimator: Any) -> tuple[Tensor, Tensor]:
    """Every outcome beyond the k likeliest."""
    log_p = log_prob(q, support(q)).detach().movedim(0, -1)
    top = log_p.topk(min(estimator.k, log_p.shape[-1])).indices
    rest = log_p.scatter(-1, top, -torch.inf).exp()
    rest = rest / rest.sum(-1, keepdim=True)
    count = log_p.shape[-1]
    rows = [uniforms_ranking(log_p, torch.full((*q.batch_shape, 1), s)) for s in range(count)]
    return rest.movedim(-1, 0), torch.stack(rows)[None]


def _set_nodes(q: Distribution, estimator: Any) -> tuple[Tensor, Tensor]:
    """Every ordered draw of k different outcomes."""
    log_p = log_prob(q, support(q)).detach().movedim(0, -1)
    weights, rows = [], []
    for chosen in itertools.permutations(range(log_p.shape[-1]), estimator.k):
        weight = torch.ones(q.batch_shape, dtype=torch.float64)
        gone = torch.zeros_like(weight)
        for s in chosen:
            weight = weight * log_p[..., s].exp() / (1 - gone)
            gone = gone + log_p[..., s].exp()
        order = torch.tensor(chosen).expand(*q.batch_shape, -1)
        weights.append(weight)
        rows.append(uniforms_ranking(log_p, order))
    return torch.stack(weights), torch.stack(rows)[None]


def uniforms_ranking(log_p: Tensor, order: Tensor) -> Tensor:
    """Uniforms whose Gumbel noise puts the outcomes of `order` (*, k) first, in that order."""
    places = torch.arange(order.shape[-1], dtype=torch.float64).expand(order.shape)
    target = torch.full_like(log_p, -6.0).scatter(-1, order, 20 - 2 * places)
    return torch.exp(-torch.exp(-(target - log_p))).clamp(1e-300, 1 - 2**-53)


def _control_nodes(q: Distribution, _: Any) -> tuple[Tensor, Tensor]:
    """Nodes for a sum of a term in z and a term in (b, z~): E is A + B - C, three sets of rows.

    z varies within each trace while z~ rests in the first set, z~ varies while z rests in the
    second, both rest in the third, which is subtracted. Both run over a trapezoid rule in t with
    u = Phi(t).
    """
    every, event = traces(q), noise_event(q)
    chances = family(q).trace_log_prob(every).exp().detach()
    dims = event.numel()
    step = {1: 0.05, 2: 0.3, 3: 0.3}[dims]
    t = grid(torch.arange(-8, 8 + step / 2, step, dtype=torch.float64), dims)
    inner = (torch.exp(-t.square() / 2) / math.sqrt(2 * math.pi) * step).prod(-1)
    kept = inner > 1e-13
    shape = (*q.batch_shape, *event)
    v = torch.special.ndtr(t[kept]).reshape(-1, *[1] * len(q.batch_shape), *event)
    v = v.clamp(1e-300, 1 - 2**-53).expand(-1, *shape)
    rest = torch.full_like(v[:1], 0.5)
    one = torch.ones(1, dtype=torch.float64)
    weights, firsts, seconds = [], [], []
    for trace, chance in zip(every, chances, strict=True):
        for sign, z_part, b_part, w in (
            (1.0, v, rest.expand_as(v), inner[kept]),
            (1.0, rest.expand_as(v), v, inner[kept]),
            (-1.0, rest, rest, one),
        ):
            rows = q.expand((len(w), *q.batch_shape))
            given = trace.expand(1, len(w), *trace.shape)
            firsts.append(uniforms_giving(rows, given, z_part[None])[0])
            seconds.append(b_part)
            weights.append(sign * per_row(w, q) * chance)
    return torch.cat(weights), torch.stack([torch.cat(firsts), torch.cat(seconds)])[:, None]


def control_grid(q: Distribution) -> tuple[Tensor, Tensor]:
    """Nodes in (z, z~) together, all of positive weight, for a q of one number of noise."""
    every = support(q)
    chances = log_prob(q, every).exp().detach()
    t = torch.arange(-7.5, 7.55, 0.1, dtype=torch.float64)
    inner = torch.exp(-t.square() / 2) / math.sqrt(2 * math.pi) * 0.1
    v = torch.cartesian_prod(torch.special.ndtr(t), torch.special.ndtr(t))
    w = torch.cartesian_prod(inner, inner).prod(-1)
    shape = (*q.batch_shape, *q.event_shape)
    first, second = (
        v[:, i].reshape(-1, *[1] * len(shape)).expand(-1, *shape).clamp(1e-300, 1 - 2**-53)
        for i in (0, 1)
    )
    rows = q.expand((len(w), *q.batch_shape))
    u = [
        uniforms_giving(rows, point.expand(1, len(w), *point.shape), first[None])[0]
        for point in every
    ]
    weights = torch.cat([per_row(w, q) * chance for chance in chances])
    return weights, torch.stack([torch.cat(u), second.repeat(len(every), *[1] * len(shape))])[
        :, None
    ]


def _matching_nodes(q: Permutation, n: int) -> tuple[Tensor, Tensor]:
    """Two nodes for each sample of a 2 x 2 Permutation: the mean noise of either outcome.

    Enough for what is linear in the noise E ~ Exponential(1), as -log E is Gumbel, given the
    outcome: the score of the noise is 1 - E. The identity is drawn where E11 E22 is less than
    c E12 E21. Three numbers run over a trapezoid rule in t, E = exp(t - exp(-t)), and E22 has its
    mean on either side of the edge.
    """
    a = q.logits.detach()
    c = torch.exp(a[..., 0, 0] + a[..., 1, 1] - a[..., 0, 1] - a[..., 1, 0])
    t = grid(torch.arange(-3.8, 4.2, 0.2, dtype=torch.float64), 3)
    e = torch.exp(t - torch.exp(-t))
    weight = per_row(((1 + torch.exp(-t)) * e * torch.exp(-e) * 0.2).prod(-1), q)
    e11, e12, e21 = e.reshape(-1, *[1] * len(q.batch_shape), 3).unbind(-1)
    edge = c * e12 * e21 / e11
    below, above = -torch.expm1(-edge), torch.exp(-edge)
    weights, rows = [], []
    # On each side, the chance and the first moment of E22.
    for chance, moment in ((below, below - edge * above), (above, above * (1 + edge))):
        parts = torch.stack([chance * e11, chance * e12, chance * e21, moment, chance], -1)
        total = (weight.unsqueeze(-1) * parts).sum(0)
        weights.append(total[..., 4])
        rows.append((total[..., :4] / total[..., 4:]).reshape(a.shape))
    return every_tuple(torch.stack(weights), torch.exp(-torch.stack(rows)), n)


def _continuous_nodes(q: Distribution, n: int) -> tuple[Tensor, Tensor]:
    """A trapezoid rule in t with u = Phi(t): exponentially accurate, like the problems' own."""
    dims = n * q.event_shape.numel()
    step = {1: 0.02, 2: 0.1, 4: 0.7}[dims]
    t = grid(torch.arange(-7.7, 7.7 + step / 2, step, dtype=torch.float64), dims)
    weights = (torch.exp(-t.square() / 2) / math.sqrt(2 * math.pi) * step).prod(-1)
    u = torch.special.ndtr(t).clamp(1e-300, 1 - 2**-53)
    u = u.reshape(-1, n, *[1] * len(q.batch_shape), *q.event_shape).transpose(0, 1)
    shape = (n, len(t), *q.batch_shape, *q.event_shape)
    return per_row(weights, q), u.expand(shape).contiguous()


def _discrete_nodes(q: Distribution, n: int, depends_on_noise: bool) -> tuple[Tensor, Tensor]:
    """Every tuple of n outcomes, each reached through the noise conditioned on it."""
    every = traces(q)
    chances = family(q).trace_log_prob(every).exp().detach()
    dims = n * noise_event(q).numel() if depends_on_noise else 0
    tuples = list(itertools.product(range(len(every)), repeat=n))
    v_weights, v = _inner_nodes(dims, n, q, most=MOST_NODES // len(tuples))
    given = torch.stack([every[list(t)] for t in tuples], 1)  # (n, tuples, *batch, ...)
    weights = torch.stack([chances[list(t)].prod(0) for t in tuples])  # (tuples, *batch)
    # Pair every tuple with every inner node.
    given = given.repeat_interleave(v.shape[1], 1)
    weights = weights.repeat_interleave(v.shape[1], 0) * per_row(v_weights, q).repeat(
        len(tuples), *[1] * len(q.batch_shape)
    )
    rows = q.expand((len(weights), *q.batch_shape))
    return weights, uniforms_giving(rows, given, v.repeat(1, len(tuples), *[1] * (v.ndim - 2)))


def _inner_nodes(dims: int, n: int, q: Distribution, most: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes in (0, 1)^dims, as `(nodes,)` and `(n, nodes, *batch, *event)`."""
    event = noise_event(q)
    shape = (*q.batch_shape, *event)
    if dims == 0:
        return torch.ones(1, dtype=torch.float64), torch.full(
            (n, 1, *shape), 0.5, dtype=torch.float64
        )
    per_axis = min(int(most ** (1 / dims)), 60)
    x, w = gauss_legendre(per_axis)
    v = grid(x, dims).reshape(-1, n, *[1] * len(q.batch_shape), *event)
    weights = grid(w, dims).prod(-1)
    return weights, v.transpose(0, 1).expand(n, len(weights), *shape)
