"""What goes wrong in training through samples: how it shows, why it happens, what cures it.

Thresholds separate deliberately sick runs from healthy ones, on MNIST and on 8x8 digits. They are
ratios, so that they hold for models of other sizes: the shuffle cost is compared with the
reconstruction and with the KL, the gap with the KL, a sample's entropy with its distribution's.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import isfinite, isnan, nan

from reparam.diagnostics.vitals import Signs

LEAST = 300
"""Steps of Adam before most sicknesses can be told from a beginning."""


@dataclass(frozen=True)
class Diagnosis:
    """One thing that is wrong.

    symptom: its name. evidence: the numbers. cause: why it happens. remedy: the option to change.
    """

    symptom: str
    evidence: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.symptom}: {self.evidence}; {self.cause}; try {self.remedy}"

    def asdict(self) -> dict[str, str]:
        """The four texts by name."""
        return asdict(self)


@dataclass(frozen=True)
class Sickness:
    """A rule: `shows` says by which numbers the sickness shows, or None.

    reads: signs of which it needs one at least, to say anything.
    lasting: whether it must show in the mean of two observations after `LEAST` steps.
    """

    symptom: str
    shows: Callable[[Signs], str | None]
    reads: tuple[str, ...]
    cause: str
    remedy: str
    lasting: bool = True

    def diagnosis(self, evidence: str) -> Diagnosis:
        """The sickness, shown by this evidence."""
        return Diagnosis(self.symptom, evidence, self.cause, self.remedy)


def not_finite(s: Signs) -> str | None:
    """Any number that is none."""
    bad = [f"{name} is {value}" for name, value in s.items() if not isfinite(value)]
    return ", ".join(bad) or None


def still(s: Signs) -> str | None:
    """A schedule that moves by less than a tenth of its largest value."""
    moves = {k.removesuffix("_moves"): v for k, v in s.items() if k.endswith("_moves")}
    said = [f"{name} moves by {v:.1%} within the run" for name, v in moves.items() if v < 0.1]
    return ", ".join(said) or None


def too_cold(s: Signs) -> str | None:
    """Relaxed samples far harder than their distribution: rare steep gradients, mostly zeros.

    When low, the temperature is about the ratio of the two entropies: 0.07 at 0.1, where training
    still works, 0.007 at 0.01.
    """
    own, entropy, zeros = (s.get(k, nan) for k in ("posterior_entropy", "entropy", "zero_share"))
    if own < 0.1:  # decided logits give decided samples and small gradients: nothing is wrong
        return None
    if entropy < 0.03 * own:
        return f"relaxed samples have {entropy:.4f} of the largest entropy{_noise(s)}"
    if zeros > 0.5:
        return f"{zeros:.0%} of the logits' gradient is exactly zero{_noise(s)}"
    return None


def noisy(s: Signs) -> str | None:
    """Nothing is learned, and two draws do not agree on where to go."""
    nothing = learned_nothing(s)
    if not s.get("cosine", nan) < 0.05 or not nothing or too_cold(s) or too_warm(s):
        return None
    return f"two draws' gradients have cosine {s['cosine']:.3f}, and {nothing}"


def too_warm(s: Signs) -> str | None:
    """Relaxed samples that hardly differ from 1/K, whatever the logits are.

    Noise alone puts them pi^2 / (12 tau^2) nats from it, for any K: 0.2 at 2, 0.03 at 5.
    """
    if not s.get("sharpness", nan) < 0.1:
        return None
    rms = s.get("gradient_rms")
    gradient = "" if rms is None else f", and the logits' gradient has rms {rms:.1g}"
    return f"relaxed samples are within {s['sharpness']:.2g} nats of uniform{gradient}"


def not_hard(s: Signs) -> str | None:
    """What the decoder is told by relaxed points beyond the KL that is paid for.

    In KLs, that is 0.4 to 1.2 where training ends well, and 2.1 to 5.5 at tau 2.
    """
    gap, kl, whole = (s.get(k, nan) for k in ("gap", "kl", "reconstruction"))
    if not (gap > 1.5 * kl and gap > 0.02 * whole):
        return None
    return f"hard samples cost {gap:.2f} nats more than relaxed ones, at a KL of {kl:.2f} nats"


def few_codes(s: Signs) -> str | None:
    """The KL is paid, and every example gets the same codes."""
    used, known = s.get("perplexity", nan), s.get("information", nan)
    same = known < 0.5 and s.get("posterior_entropy", nan) < 0.5
    if not (used < 0.3 or same):
        return None
    said = f"{used:.0%} of the codes are used"
    return said if isnan(known) else f"{said}, and {known:.0%} of the KL tells images apart"


def learned_nothing(s: Signs) -> str | None:
    """Whether the decoder does without the latent; by its KL where nobody shuffled the codes.

    Shuffling costs 4 % of the reconstruction and more where the latent is used, and 2 to 6 KLs. One
    that just wakes up costs as little as none, but its KL is information.
    """
    cost, kl, whole = (s.get(k, nan) for k in ("shuffle", "kl", "reconstruction"))
    asleep = cost < 0.01 * whole and not s.get("information", nan) >= 0.5
    if asleep or (kl > 0.01 * whole and cost < 0.5 * kl):
        return f"giving every image another's code costs {cost:.2f} nats (KL {kl:.2f})"
    if "shuffle" not in s and s.get("dead", nan) == 1:
        return f"no unit has a KL above 0.01 nats (together {kl:.3f})"
    return None


def silent(s: Signs) -> str | None:
    """The latent carries nothing, and nothing before explains it."""
    causes = (too_cold, too_warm, noisy, few_codes)
    return None if any(cause(s) for cause in causes) else learned_nothing(s)


def silent_codes(s: Signs) -> str | None:
    """A discrete latent that the decoder does without, for none of the causes above."""
    return silent(s) if _discrete(s) else None


def collapsed(s: Signs) -> str | None:
    """A continuous latent that the decoder does without, for none of the causes above."""
    return None if _discrete(s) else silent(s)


def mismatched(s: Signs) -> str | None:
    """A straight-through whose value is no one-hot, or whose gradient is not the relaxed one's."""
    off, cosine, ratio = (
        s.get(k, nan) for k in ("off_one_hot", "pullback_cosine", "pullback_ratio")
    )
    if off > 1e-6:
        return f"the value is {off:.2g} away from a one-hot"
    if cosine < 0.999 or abs(ratio - 1) > 1e-3:
        return f"its gradient has cosine {cosine:.3f} with the relaxed one's and length {ratio:.3f}"
    return None


def _discrete(s: Signs) -> bool:
    return "posterior_entropy" in s or "perplexity" in s


def _noise(s: Signs) -> str:
    return f"; two draws' gradients have cosine {s['cosine']:.4f}" if "cosine" in s else ""


NOTHING = ("shuffle", "dead")
"""Signs of a latent that is not used."""
ANNEAL = "--tau exponential:start=1,end=0.5"
NOT_FINITE = Sickness(
    "not a number",
    not_finite,
    reads=(),
    cause="an exponential, a quotient or an update overflowed, often at a low temperature",
    remedy="a lower --lr, a temperature above 0.1 (--tau 0.5), or reparam.functional's "
    "samplers in place of a hand-written softmax or log(-log(u))",
    lasting=False,
)
SICKNESSES: tuple[Sickness, ...] = (
    NOT_FINITE,
    Sickness(
        "schedule that never moves",
        still,
        reads=("_moves",),
        cause="its rate or number of steps was made for a longer run",
        remedy=f"{ANNEAL} (or linear, cosine): without rate= or steps= it ends with the run",
        lasting=False,
    ),
    Sickness(
        "wrong straight-through",
        mismatched,
        reads=("off_one_hot", "pullback_cosine"),
        cause="detach stands in the wrong place",
        remedy="`hard - soft.detach() + soft` with a hard that has no gradient, or "
        "--estimator straight-through-gumbel-softmax",
        lasting=False,
    ),
    Sickness(
        "exploding gradient variance",
        too_cold,
        reads=("entropy", "zero_share"),
        cause="the temperature is so low that gradients are zero, but for rare steep ones",
        remedy=f"{ANNEAL}, --tau 0.5, or any that stays above 0.1; more samples help by half",
    ),
    Sickness(
        "gradient lost in noise",
        noisy,
        reads=("cosine",),
        cause="the estimator's variance hides the direction, as of a score function without a "
        "baseline of the same example",
        remedy="--estimator rloo --samples 4, or --estimator straight-through-gumbel-softmax",
    ),
    Sickness(
        "gradient insensitive to logits",
        too_warm,
        reads=("sharpness",),
        cause="the temperature is so high that samples are uniform whatever the logits are; a "
        "higher learning rate does not help",
        remedy=ANNEAL,
    ),
    Sickness(
        "samples not hard",
        not_hard,
        reads=("gap",),
        cause="the decoder is trained on relaxed points, which tell it more than codes can",
        remedy="--estimator straight-through-gumbel-softmax, or --tau exponential:start=1,end=0.1",
    ),
    Sickness(
        "collapse onto few codes",
        few_codes,
        reads=("perplexity", "information"),
        cause="logits ran away before the decoder learned to tell codes apart, so that all images "
        "get the same",
        remedy="--tau 0.5, --kl-weight 1 or more (up to 5) from the first step, or a lower --lr",
    ),
    Sickness(
        "latent carries nothing",
        silent_codes,
        reads=NOTHING,
        cause="the KL costs more than the codes are worth to the decoder",
        remedy="--kl-weight 1 or less, --free-bits 0.25, or a decoder that can do less alone",
    ),
    Sickness(
        "posterior collapse",
        collapsed,
        reads=NOTHING,
        cause="the KL costs more than the latent is worth to the decoder: a large weight, a "
        "reconstruction that is averaged over pixels, or a decoder that does without",
        remedy="--kl-weight linear:start=0,end=1, --free-bits 0.25, or a decoder that can do less "
        "alone",
    ),
)
"""In the order in which they are looked for: causes before what follows from them."""
