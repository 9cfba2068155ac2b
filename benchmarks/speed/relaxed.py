"""gumbel_softmax, forward and backward, against everyone's."""

import importlib
import warnings
from collections.abc import Callable

import torch
from benchmarks.speed.measure import Call, Contest, Side
from torch import Tensor
from torch.distributions import RelaxedOneHotCategorical
from torch.nn import functional

from reparam import fast
from reparam.functional import gumbel_softmax

SHAPES = [(32, 10), (128, 20, 10), (4096, 64), (65536, 64), (1_000_000, 8), (256, 50257)]
LARGEST = (4096, 8192)
TAU = 0.7
COMPILED = "reparam.kernels.gumbel_softmax.compiled"

Sampler = Callable[[Tensor], Tensor]


def contests(quick: bool, compiled: bool) -> list[Contest]:
    """Soft and hard, at every shape. quick: not the largest, and against torch alone."""
    names = [] if quick else installed(["pyro", "storch"])
    shapes = SHAPES if quick else [*SHAPES, LARGEST]
    return [contest(shape, hard, names, compiled) for hard in (False, True) for shape in shapes]


def installed(names: list[str]) -> list[str]:
    """Those of the packages that can be imported; the others are named and left out."""
    found = []
    for name in names:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(name)
            found.append(name)
        except ImportError as error:
            print(f"{name}: left out, {error}")
    return found


def contest(shape: tuple[int, ...], hard: bool, names: list[str], compiled: bool) -> Contest:
    """Every side at one shape. names: of the packages to compare with, beside torch."""
    kind = "hard" if hard else "soft"
    return Contest(f"gumbel_softmax, {kind}", shape, lambda: sides(shape, hard, names, compiled))


def sides(shape: tuple[int, ...], hard: bool, names: list[str], compiled: bool) -> list[Side]:
    """Standards and ours, on the same logits and the same gradient that arrives."""
    samplers = standards(hard, names)
    if compiled:
        samplers["torch.compile(F)"] = compiled_standard(hard)
    x, w = torch.randn(shape, requires_grad=True), torch.randn(shape)
    both = [Side(name, both_ways(sampler, x, w)) for name, sampler in samplers.items()]
    own = both_ways(lambda logits: gumbel_softmax(logits, TAU, hard=hard), x, w)
    both.append(Side("pure torch", own, fast=False))
    if fast.kernel(COMPILED):
        both.append(Side("[fast]", own, fast=True))
    return both


def both_ways(sampler: Sampler, x: Tensor, w: Tensor) -> Call:
    """Forward and backward, keeping nothing."""
    return lambda: torch.autograd.grad(sampler(x), x, w)


def standards(hard: bool, names: list[str]) -> dict[str, Sampler]:
    """What others offer; torch's distribution has no hard samples."""
    tau = torch.tensor(TAU)
    found: dict[str, Sampler] = {
        "F.gumbel_softmax": lambda x: functional.gumbel_softmax(x, TAU, hard=hard)
    }
    if not hard:
        # Its default, said because the compiler changes it in the middle of a contest.
        found["RelaxedOneHotCategorical"] = lambda x: RelaxedOneHotCategorical(
            tau, logits=x, validate_args=True
        ).rsample()
    if "pyro" in names:
        module = importlib.import_module("pyro.distributions")
        suffix = "StraightThrough" if hard else ""
        relaxed = getattr(module, f"RelaxedOneHotCategorical{suffix}")
        found["pyro"] = lambda x: relaxed(tau, logits=x, validate_args=False).rsample()
    if "storch" in names:
        found["storchastic"] = storchastic(tau, hard)
    return found


def storchastic(tau: Tensor, hard: bool) -> Sampler:
    """The sampling step of its method GumbelSoftmax, without its bookkeeping around."""
    draw = importlib.import_module("storch.util").rsample_gumbel_softmax
    one_hot = torch.distributions.OneHotCategorical
    return lambda x: draw(one_hot(logits=x), 1, tau, hard)[0]


def compiled_standard(hard: bool) -> Sampler:
    """torch's own function through its compiler, for one shape at a time."""
    torch._dynamo.reset()  # noqa: SLF001 (the limit of recompilations counts shapes)
    return torch.compile(lambda x: functional.gumbel_softmax(x, TAU, hard=hard), dynamic=False)
