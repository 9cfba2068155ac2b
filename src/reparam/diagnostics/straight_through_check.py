"""Examining somebody's straight-through sampler: is its value a one-hot, and its gradient right?

`function(logits, tau=...)`, logits `(B, K)`, is to return one-hot samples of softmax(logits) whose
gradient is that of softmax((logits + noise) / tau). The function is a black box; its Jacobian
tells what is differentiated (`jacobians.py`).
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from reparam.diagnostics.blame import said
from reparam.diagnostics.jacobians import Softmax, jacobian, softmax_of
from reparam.diagnostics.sicknesses import Diagnosis
from reparam.diagnostics.vitals import off_one_hot

Sampler = Callable[..., Tensor]
RIGHT = "hard - soft.detach() + soft, with a hard that has no gradient"
FALSE_ALARM = 1e-8
"""How often a right sampler's frequencies are called wrong, in each of three tests."""
DRAWS = 200_000
LOGITS = (0.3, -0.2, 0.1, 0.0, 0.5)
UNEQUAL = (0.0, -1.0, -2.0, -4.0, -7.0)
SEEDS = 5


def check(function: Sampler) -> tuple[list[Diagnosis], list[str]]:
    """What is wrong with a straight-through sampler, and the names of the checks that it passed.

    >>> from reparam.functional import gumbel_softmax
    >>> check(lambda logits, tau: gumbel_softmax(logits, tau, hard=True))[0]
    []
    """
    diagnoses: list[Diagnosis] = []
    passed = []
    for name, examine in CHECKS.items():
        found = _examined(examine, function)
        diagnoses += found
        passed += [] if found else [name]
        if found and name == "call":  # nothing else can be asked
            break
    return diagnoses, passed


def _examined(
    examine: Callable[[Sampler], Iterator[Diagnosis]], function: Sampler
) -> list[Diagnosis]:
    try:
        with torch.random.fork_rng():
            return list(examine(function))
    except (Exception, SystemExit) as error:  # noqa: BLE001 (of somebody's function: anything)
        return [
            Diagnosis(
                f"{type(error).__name__} in the {examine.__name__.strip('_')} check",
                said(error),
                *_raised(error),
            )
        ]


def _raised(error: BaseException) -> tuple[str, str]:
    """Why a function may have raised this, and what to do."""
    if isinstance(error, TypeError) and "argument" in str(error):
        return (
            "it is called as f(logits, tau=...), with nothing else",
            "a wrapper with that signature: lambda logits, tau: f(logits, temperature=tau, ...)",
        )
    if "in-place" in str(error):
        return (
            "it changes the logits themselves, which the caller still needs",
            "logits = logits + noise in place of logits += noise",
        )
    return (
        "it does not take what this check gives it",
        "a function of floating-point logits (B, K) and tau > 0",
    )


def _call(f: Sampler) -> Iterator[Diagnosis]:
    """It returns a tensor of the logits' shape and dtype."""
    logits = _rows(LOGITS, 4)
    y = _draw(f, logits)
    if not isinstance(y, Tensor) or y.shape != logits.shape:
        got = f"a tensor {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        yield Diagnosis(
            "no sample",
            f"logits of shape {tuple(logits.shape)} give {got}",
            "a sampler of one-hots returns one entry for each logit",
            "torch.nn.functional.one_hot on indices, and the soft sample's gradient",
        )


def _value(f: Sampler) -> Iterator[Diagnosis]:
    """Entries are 0 or 1 to 1e-6, one of them 1 in a row."""
    y = torch.cat([_draw(f, _rows(LOGITS, 200), tau=tau).double() for tau in (1.0, 0.5)])
    off = off_one_hot(y)
    if off <= 1e-6:
        return
    sums = y.sum(-1).mean().item()
    if abs(sums - 1) < 1e-3:
        cause = "the relaxed sample is returned: `soft - hard.detach() + hard`, or soft itself"
    elif abs(sums - 2) < 1e-3:
        cause = "the relaxed sample is added to the hard one: `hard - soft.detach() + 2 * soft`"
    else:
        cause = "hard and soft are added without taking soft's value away again"
    yield Diagnosis(
        "value is not one-hot",
        f"entries are up to {off:.2g} away from 0 or 1, and a row sums to {sums:.3f}",
        cause,
        RIGHT,
    )


def _gradient(f: Sampler) -> Iterator[Diagnosis]:
    """That of a softmax at tau, 1e-3 in length, .999 in direction, with the value's noise."""
    row = torch.tensor(LOGITS, dtype=torch.float64)
    pairs = [
        jacobian(partial(_draw, f, tau=tau, seed=seed), row)
        for tau in (1.0, 0.5)
        for seed in range(SEEDS)
    ]
    jacobians = [j for j, _ in pairs if j is not None]
    if len(jacobians) < len(pairs):
        yield _wrong("the samples do not depend on the logits", "hard is returned alone: `hard`")
        return
    if not any(bool(j.any()) for j in jacobians):
        yield _wrong("it is exactly zero", "soft cancels: `hard.detach() - soft + soft`")
        return
    fits = [softmax_of(j) for j in jacobians]
    if not all(fit.cosine >= 0.999 for fit in fits):
        worst = min(fit.cosine for fit in fits)
        yield _wrong(
            f"its Jacobian is that of no softmax (cosine {worst:.3f} with the nearest)",
            "the relaxed sample is not softmax((logits + noise) / tau), or hard has a gradient",
        )
        return
    scales = [fit.scale for fit in fits]
    yield from _scaled(scales[:SEEDS], [scale / 2 for scale in scales[SEEDS:]])
    yield from _other_noise(fits, [value for _, value in pairs])


def _scaled(warm: list[float], cold: list[float]) -> Iterator[Diagnosis]:
    """Factors on the right gradient, at tau 1 and at tau 0.5."""
    one, half = warm[0], cold[0]
    if all(abs(c - 1) <= 1e-3 for c in (*warm, *cold)):
        return
    if one < 0:
        yield _wrong(
            f"it is {one:.3f} times the right one: every step goes uphill",
            "the detach is on the wrong soft: `hard - soft + soft.detach()`",
        )
    elif abs(one - 1) <= 1e-3 and abs(half - 0.5) <= 1e-3:
        yield _wrong("it does not change with tau", "the logits are not divided by tau")
    elif abs(half / one - 1) > 1e-3:
        yield _wrong(
            f"it is {one:.3f} times the right one at tau 1 and {half:.3f} times at tau 0.5",
            "tau is not what the logits are divided by",
        )
    else:
        yield _wrong(
            f"it is {one:.3f} times the right one",
            "soft's gradient is counted more than once, or scaled: "
            "`hard - soft.detach() + 2 * soft`",
        )


def _other_noise(fits: list[Softmax], values: list[Tensor]) -> Iterator[Diagnosis]:
    """The relaxed sample that is differentiated is nearest another one-hot than the value.

    Unless it is softmax(logits / tau), straight-through without noise (Bengio et al. 2013).
    """
    plain = torch.softmax(torch.tensor(LOGITS, dtype=torch.float64), 0)
    if all(torch.allclose(fit.y, plain, atol=1e-4) for fit in fits[:SEEDS]):
        return
    pairs = zip(fits, values, strict=True)
    strangers = sum(int(fit.y.argmax() != value.argmax()) for fit, value in pairs)
    if strangers:
        yield _wrong(
            f"in {strangers} of {len(fits)} samples it is another sample's than the value",
            "hard and soft are drawn with different noise",
            "draw the noise once, and take hard = argmax(soft)",
        )


def _wrong(evidence: str, cause: str, remedy: str = RIGHT) -> Diagnosis:
    return Diagnosis("wrong gradient", evidence, cause, remedy)


def _masks(f: Sampler) -> Iterator[Diagnosis]:
    """A logit of -inf is never drawn, and spoils neither value nor gradient."""
    logits = _rows((0.3, -torch.inf, 0.1, -torch.inf, 0.5), 1000).requires_grad_()
    y = _draw(f, logits)
    finite = bool(y.isfinite().all())
    if not finite or y[:, [1, 3]].any():
        yield _masked("the value is not finite" if not finite else "excluded classes are drawn")
    elif y.requires_grad:
        (gradient,) = torch.autograd.grad((y * torch.arange(5)).sum(), logits)
        if not gradient.isfinite().all():
            yield _masked("the gradient is not finite")


def _masked(evidence: str) -> Diagnosis:
    return Diagnosis(
        "-inf logits go wrong",
        evidence,
        "infinities meet in a difference or a product, or a clamp makes them finite",
        "softmax of the perturbed logits as a whole; exp without subtracting the maximum fails",
    )


def _dtypes(f: Sampler) -> Iterator[Diagnosis]:
    """Halves and doubles stay what they are, and finite."""
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        logits = _rows(LOGITS, 20_000).to(dtype)
        y = _draw(f, logits)
        name = f"{dtype} goes wrong".removeprefix("torch.")
        if y.dtype != dtype:
            yield Diagnosis(
                name,
                f"{dtype} logits give {y.dtype} samples",
                "the noise or a constant has a dtype of its own, which the sample takes over",
                "cast the sample at the end: sample.to(logits.dtype)",
            )
        elif not y.isfinite().all():
            yield Diagnosis(
                name,
                f"{int((~y.isfinite()).any(-1).sum())} of {len(y)} samples are NaN",
                "noise is drawn in the logits' own dtype, where uniforms round to 0 and 1",
                "draw the noise in float32 and cast the sample: sample.to(logits.dtype)",
            )


def _seeds(f: Sampler) -> Iterator[Diagnosis]:
    """A seed decides the sample, another seed another one, and every row has its own."""
    logits = torch.zeros(64, 5)
    first, again, other = (_draw(f, logits, seed=seed) for seed in (0, 0, 1))
    if not torch.equal(first, again):
        yield Diagnosis(
            "not reproducible",
            "torch.manual_seed(0) twice gives two samples",
            "the noise comes from elsewhere than torch",
            "torch's generator",
        )
    if torch.equal(first, other):
        yield Diagnosis(
            "no randomness",
            "64 uniform rows are the same for two seeds",
            "no noise is added, or the function seeds itself",
            "logits - log(Exponential(1)) in the argmax, drawn anew at every call",
        )
    elif bool((first == first[0]).all()):
        yield Diagnosis(
            "rows share their noise",
            "64 uniform rows have one sample",
            "noise of shape (K,) is broadcast over the batch",
            "noise of the shape of the logits",
        )


def _frequencies(f: Sampler) -> Iterator[Diagnosis]:
    """Chi-square of the classes drawn, against softmax(logits)."""
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        logits = _rows(UNEQUAL, DRAWS).to(dtype)
        counts = _draw(f, logits, tau=0.5).argmax(-1).bincount(minlength=5).double()
        expected = DRAWS * torch.softmax(torch.tensor(UNEQUAL, dtype=torch.float64), 0)
        statistic = ((counts - expected) ** 2 / expected).sum()
        rate = torch.special.gammaincc(torch.tensor(2.0, dtype=torch.float64), statistic / 2).item()
        if rate < FALSE_ALARM:
            shares = ", ".join(
                f"{c / DRAWS:.5f} for {e / DRAWS:.5f}"
                for c, e in zip(counts, expected, strict=True)
            )
            yield Diagnosis(
                "wrong frequencies",
                f"{dtype} logits {UNEQUAL}: {shares} (chi-square {statistic:.0f} on 4 degrees)",
                "the noise is no Gumbel noise, its tail is cut, or rows share it",
                "-log(Exponential(1)) in float32: -torch.empty_like(logits).exponential_().log()",
            )
            return


def _extremes(f: Sampler) -> Iterator[Diagnosis]:
    """Temperatures and logits at which a naive exponential overflows."""
    far = (1e4, 0.0, -1e4, 0.0, 0.0)
    for case, values, tau in (("tau 0.001", LOGITS, 1e-3), ("logits of 10,000", far, 1.0)):
        logits = _rows(values, 1000).requires_grad_()
        y = _draw(f, logits, tau)
        bad = not bool(y.isfinite().all())
        if not bad and y.requires_grad:
            (gradient,) = torch.autograd.grad((y * torch.arange(5)).sum(), logits)
            bad = not bool(gradient.isfinite().all())
        wrong = values is far and not bad and bool((y.argmax(-1) != 0).any())
        if bad or wrong:
            yield Diagnosis(
                "overflow",
                f"at {case} " + ("NaN or infinity" if bad else "impossible classes are drawn"),
                "exp((logits + noise) / tau) without subtracting the maximum, or a clamp",
                "torch.softmax((logits + noise) / tau, -1)",
            )


CHECKS: dict[str, Callable[[Sampler], Iterator[Diagnosis]]] = {
    "call": _call,
    "value": _value,
    "gradient": _gradient,
    "masks": _masks,
    "dtypes": _dtypes,
    "seeds": _seeds,
    "frequencies": _frequencies,
    "extremes": _extremes,
}
"""What is examined, in this order."""


def _rows(values: tuple[float, ...], rows: int) -> Tensor:
    return torch.tensor(values).repeat(rows, 1)


def _draw(f: Sampler, logits: Tensor, tau: float = 1.0, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return f(logits, tau=tau)
