"""Examining samplers: each wrong line is named, each right one passes, whatever its noise."""

import re
import sys

import pytest
import torch
from torch.nn.functional import gumbel_softmax, one_hot

import reparam as rp
from reparam.diagnostics import straight_through_check
from reparam.diagnostics.jacobians import jacobian, softmax_of
from reparam.diagnostics.straight_through_check import CHECKS, check


def exponential_noise(logits):
    """Gumbel noise of the logits' shape and dtype."""
    return -torch.empty_like(logits).exponential_().log()


def sampler(line, noise=exponential_noise, soften=lambda z: torch.softmax(z, -1)):
    """A hand-written straight-through: its last line, its noise, its softmax."""

    def sample(logits, tau):
        soft = soften((logits + noise(logits)) / tau)
        hard = one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
        return line(hard, soft)

    return sample


def right(hard, soft):
    """The line that all should have."""
    return hard - soft.detach() + soft


def naive(z):
    """A softmax that overflows."""
    return z.exp() / z.exp().sum(-1, keepdim=True)


def clamped(logits, tau):
    """Excluded classes are drawn at times, where all others are improbable."""
    return sampler(right)(logits.clamp(min=-3), tau)


def redrawn(logits, tau):
    """Noise for the value, and other noise for the gradient."""
    hard = sampler(right)(logits, tau).detach()
    return right(hard, sampler(lambda _, soft: soft)(logits, tau))


def noiseless(logits, tau):
    """The first straight-through: the gradient of the probabilities."""
    return right(sampler(right)(logits, tau).detach(), torch.softmax(logits / tau, -1))


def singles(logits, tau):
    """Whatever comes, float32 goes."""
    return sampler(right)(logits.float(), tau)


def seeded(logits, tau):
    """The same at every call."""
    return rp.functional.gumbel_softmax(
        logits, tau, hard=True, generator=torch.Generator().manual_seed(0)
    )


def unseeded(logits, tau):
    """Noise from a generator of its own, which no seed reaches."""
    generator = torch.Generator()
    generator.seed()
    return rp.functional.gumbel_softmax(logits, tau, hard=True, generator=generator)


def scaled(logits, tau):
    """A gradient at another temperature than asked for."""
    return sampler(right)(logits, tau**2)


def gapped(logits, tau):
    """What has no softmax for a relaxation."""
    y = sampler(right)(logits, tau).detach()
    return y + torch.sigmoid(logits) - torch.sigmoid(logits).detach()


GRADIENT, VALUE = "wrong gradient", "value is not one-hot"
WRONG = {
    "uphill": (lambda h, y: h - y + y.detach(), [GRADIENT], r"uphill.*`hard - soft \+ soft.detach"),
    "nothing": (lambda h, y: h.detach() - y + y, [GRADIENT], r"zero.*`hard.detach\(\) - soft"),
    "hard alone": (lambda h, y: h, [GRADIENT], "not depend on the logits.*alone: `hard`"),
    "soft": (lambda h, y: y - h.detach() + h, [VALUE], r"sums to 1\.0.*`soft - hard.detach\(\)"),
    "twice": (
        lambda h, y: h - y.detach() + 2 * y,
        [VALUE, GRADIENT],
        r"sums to 2\.0.*`hard - soft.detach\(\) \+ 2 \* soft`.*2\.000 times.*more than once",
    ),
    "doubled": (lambda h, y: h - 2 * y.detach() + 2 * y, [GRADIENT], r"2\.000 times the right"),
    "both": (lambda h, y: h + 2 * y, [VALUE, GRADIENT], "without taking soft's value away"),
}
"""The last line, what is found, and what is said of it; the first five are the usual ones."""
OTHERS = {
    "clamped": (clamped, ["-inf logits go wrong", "wrong frequencies"], "excluded classes"),
    "redrawn": (redrawn, [GRADIENT], "another sample's than the value.*different noise"),
    "singles": (
        singles,
        ["float64", "float16", "bfloat16"],
        "give torch.float32 samples the noise or a constant has a dtype of its own",
    ),
    "seeded": (seeded, ["no randomness"], "the same for two seeds"),
    "unseeded": (unseeded, ["not reproducible"], "comes from elsewhere"),
    "scaled": (scaled, [GRADIENT], r"1\.000 times the right one at tau 1 and 2\.000 times at"),
    "gapped": (gapped, [GRADIENT], "that of no softmax"),
    "not tempered": (
        lambda logits, tau: sampler(right)(logits, 1.0),
        [GRADIENT],
        "does not change with tau",
    ),
    "normal noise": (sampler(right, torch.randn_like), ["wrong frequencies"], "no Gumbel noise"),
    "shared noise": (
        sampler(right, lambda x: exponential_noise(x[:1])),
        ["rows share their noise", "wrong frequencies"],
        r"noise of shape \(K,\) is broadcast",
    ),
    "half uniforms": (
        sampler(right, lambda x: -torch.log(-torch.log(torch.rand_like(x)))),
        ["wrong frequencies"],
        "bfloat16 logits .* its tail is cut",
    ),
    "naive": (sampler(right, soften=naive), ["overflow", "overflow"], "tau 0.001.*10,000"),
    "no tau": (
        lambda logits: logits,
        ["TypeError in the call check"],
        r"unexpected keyword.* called as f\(logits, tau=",
    ),
    "in place": (
        lambda logits, tau: sampler(right)(logits.add_(0), tau),
        ["RuntimeError in the gradient", "RuntimeError in the masks", "RuntimeError in the extr"],
        r"\(test_straight_through_check\.py, line \d+\) it changes the logits themselves",
    ),
    "leaves": (lambda logits, tau: sys.exit(3), ["SystemExit in the call"], "SystemExit: 3"),
    "indices": (lambda logits, tau: logits.argmax(-1), ["no sample"], r"\(4, 5\) give a .*\(4,\)"),
    "a list": (lambda logits, tau: logits.tolist(), ["no sample"], "give list"),
    "single rows": (
        lambda logits, tau: sampler(right)(logits, tau) if len(logits) < 9 else 1 / 0,
        ["ZeroDivisionError in the "] * 6,
        "division by zero",
    ),
}
GOOD = {
    "by hand": sampler(right),
    "torch": lambda logits, tau: gumbel_softmax(logits, tau, hard=True),
    "reparam": lambda logits, tau: rp.functional.gumbel_softmax(logits, tau, hard=True),
    "noiseless": noiseless,
}


@pytest.mark.parametrize("name", GOOD)
def test_a_right_sampler_passes_everything(name):
    """Whatever it is made of; wrong frequencies are alleged at a rate of 3e-8."""
    assert check(GOOD[name]) == ([], list(CHECKS))


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_line_is_named(name):
    """By the line itself, and nothing else is blamed."""
    line, symptoms, said = WRONG[name]
    diagnoses, passed = check(sampler(line))
    assert [d.symptom for d in diagnoses] == symptoms
    assert re.search(said, " ".join(f"{d.evidence} {d.cause}" for d in diagnoses))
    assert all(d.remedy == straight_through_check.RIGHT for d in diagnoses)
    assert len(passed) == len(CHECKS) - len(symptoms)


@pytest.mark.parametrize("name", OTHERS)
def test_other_faults_are_named(name):
    """Each by what it does; chance blames or clears none at a rate above 1e-6."""
    function, symptoms, said = OTHERS[name]
    diagnoses, _ = check(function)
    found = [d.symptom for d in diagnoses]
    assert len(found) == len(symptoms), diagnoses
    assert all(f.startswith(s) for f, s in zip(found, symptoms, strict=True))
    assert re.search(said, " ".join(f"{d.evidence} {d.cause}" for d in diagnoses))


def test_examining_leaves_the_generator_alone():
    """What a person draws next is not changed."""
    before = torch.get_rng_state()
    check(sampler(right))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("scale", [1.0, -1.0, 2.0, 0.3])
def test_a_jacobian_tells_its_softmax(scale):
    """y and the factor, to rounding."""
    row = torch.tensor([0.3, -2.0, 0.7, 0.1], dtype=torch.float64)
    found, value = jacobian(lambda x: scale * torch.softmax(x / 0.5, -1), row)
    fit = softmax_of(found)
    y = torch.softmax(row / 0.5, -1)
    torch.testing.assert_close(fit.y, y)
    torch.testing.assert_close(value, scale * y)
    assert fit.scale == pytest.approx(scale / 0.5)
    assert fit.cosine == pytest.approx(1)


def test_another_jacobian_is_no_softmax():
    """That of independent sigmoids, with no entries beside the diagonal, and of a rotation."""
    for other in (torch.eye(4), torch.eye(4).roll(1, 0), torch.ones(4, 4)):
        assert softmax_of(other).cosine < 0.9
