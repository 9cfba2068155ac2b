"""When a sampled result is accepted: every bound follows from the false-fail rate it is allowed."""

import math
import shutil
from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor

FALSE_FAIL = 1e-7
"""Of one assertion; a test with ten of them stays at 1e-6."""

needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="inductor needs a C++ compiler"
)


TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])
OLD = TORCH < (2, 13)
needs_compiled_copies = pytest.mark.skipif(OLD, reason="torch 2.10 compiles no copies of objects")


def seeded(seed: int) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def ks_bound(n: int) -> float:
    """What the distance between the empirical and the true CDF exceeds at rate FALSE_FAIL.

    Massart 1990, "The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality", corollary 1:
    it holds at every n. By the same inequality, a sampler whose CDF is wrong by twice the bound
    somewhere passes at most at rate FALSE_FAIL.
    """
    return math.sqrt(math.log(2 / FALSE_FAIL) / (2 * n))


def assert_follows(values: Tensor, cdf: Callable[..., object]) -> None:
    """Kolmogorov-Smirnov: `values`, any shape, are independent draws from `cdf` (numpy in, out)."""
    distance = ks_distance(values, cdf)
    assert distance <= ks_bound(values.numel()), f"{distance=} > {ks_bound(values.numel())}"


def ks_distance(values: Tensor, cdf: Callable[..., object]) -> float:
    """The largest distance between the empirical CDF and `cdf`."""
    x = values.detach().double().flatten().sort().values
    n = x.numel()
    at = torch.as_tensor(cdf(x.numpy()), dtype=torch.float64)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    return max((steps[1:] - at).max().item(), (at - steps[:-1]).max().item())


def assert_counts(counts: Tensor, probs: Tensor) -> None:
    """Chi-square along the last dimension: counts `(..., K)` of draws with `probs` `(..., K)`."""
    counts, probs = counts.double(), probs.double()
    expected = probs * counts.sum(-1, keepdim=True)
    assert bool((counts[probs == 0] == 0).all()), "an impossible outcome was drawn"
    assert expected[probs > 0].min() >= 20, "the chi-square approximation needs more draws"
    terms = torch.where(probs > 0, (counts - expected) ** 2 / expected, 0)
    statistic = terms.sum().item()
    dof = int((probs > 0).sum()) - counts[..., 0].numel()
    bound = stats.chi2.isf(FALSE_FAIL, dof)
    assert statistic <= bound, f"chi2/dof {statistic / dof:.3f} > {bound / dof:.3f}"


def assert_poisson(hits: int, mean: float) -> None:
    """A count of rare independent events, `mean` of them expected; false fail 1e-6.

    Above a mean of 14.6, that there are none is refused.
    """
    low, high = (int(q(5e-7, mean)) for q in (stats.poisson.ppf, stats.poisson.isf))
    assert low <= hits <= high, f"{hits} hits, expected {mean:.1f}, accepted [{low}, {high}]"
