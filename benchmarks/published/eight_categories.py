"""Eight classes from three bits that share a logit (Liu et al. 2019; Kool et al. 2020).

f = sum of (b_i - p0_i)^2 with p0 = (.6, .51, .48), derivatives in the shared logit at 0. Exact:
every set (or tuple) of outcomes is drawn, by means of `noise=`, and weighted by its chance.
"""

from itertools import combinations, permutations, product
from math import prod

import torch
from benchmarks.published.options import Options
from benchmarks.published.rows import Row, digits
from torch import Tensor

import reparam as rp
from reparam.problems import PROBLEMS

WITH_BASELINE = {
    2: ".0061125",
    3: ".0022625",
    4: ".00113083",
    5: ".0006105",
    6: ".0003165",
    7: ".000129167",
}
WITHOUT_BASELINE = {1: ".43842", 2: ".187894", 3: ".104386"}
RLOO = {2: ".007275", 3: ".003200", 4: ".001987"}
CLASSES = 8


def probabilities() -> list[float]:
    """Of the eight classes at logit 0."""
    return PROBLEMS["categorical8"]().q().probs[0].tolist()


def unordered(k: int, baseline: bool) -> tuple[float, float]:
    """Mean and variance of the gradient, over all sets of k classes."""
    p = probabilities()
    sets = list(combinations(range(CLASSES), k))
    weights = [_set_chance([p[i] for i in s]) for s in sets]
    return _moments(rp.UnorderedSet(k, baseline), _uniforms(sets).unsqueeze(0), weights)


def with_replacement(k: int) -> tuple[float, float]:
    """Mean and variance of the gradient, over all tuples of k classes."""
    p = probabilities()
    tuples = list(product(range(CLASSES), repeat=k))
    weights = [prod(p[i] for i in t) for t in tuples]
    one_each = [_uniforms([(t[i],) for t in tuples]) for i in range(k)]
    return _moments(rp.Rloo(), torch.stack(one_each), weights)


def _uniforms(chosen: list[tuple[int, ...]]) -> Tensor:
    """Uniforms `(rows, 8)` whose Gumbel values lift the chosen classes above the others."""
    u = torch.full((len(chosen), CLASSES), 1e-12, dtype=torch.float64)
    return u.scatter(1, torch.tensor(chosen), 1 - 1e-12)


def _set_chance(p: list[float]) -> float:
    """Of drawing these classes without replacement, in any order."""
    return sum(
        prod(x / (1 - sum(order[:i])) for i, x in enumerate(order)) for order in permutations(p)
    )


def _moments(estimator: rp.Estimator, u: Tensor, weights: list[float]) -> tuple[float, float]:
    """Mean and variance over the rows of uniforms `(n, rows, 8)`."""
    problem = PROBLEMS["categorical8"]()
    eta = problem.params["eta"].detach()[:1].expand(len(weights)).clone().requires_grad_()
    q = problem.build({"eta": eta})
    value = rp.expect(lambda z: problem.cost(z, problem.weight), q, estimator, len(u), noise=u)
    (g,) = torch.autograd.grad(value.sum(), eta)
    w = torch.tensor(weights, dtype=torch.float64)
    mean = (w * g).sum()
    return mean.item(), (w * (g - mean).square()).sum().item()


def run(options: Options | None = None) -> list[Row]:
    """The block."""
    rows = []
    cases = [
        *((f"UnorderedSet({k})", unordered(k, True), v) for k, v in WITH_BASELINE.items()),
        *(
            (f"UnorderedSet({k}), bare", unordered(k, False), v)
            for k, v in WITHOUT_BASELINE.items()
        ),
        *((f"RLOO, n = {k}", with_replacement(k), v) for k, v in RLOO.items()),
    ]
    for name, (mean, variance), printed in cases:
        rows.append(digits(f"{name}: gradient", mean, "-.0450"))
        rows.append(digits(f"{name}: variance", variance, printed))
    return rows
