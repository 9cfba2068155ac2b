"""Watching a run: observations go in, diagnoses come out, each once."""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from reparam.diagnostics import vitals
from reparam.diagnostics.sicknesses import LEAST, SICKNESSES, Diagnosis, Sickness
from reparam.diagnostics.vitals import NAMES, Signs


class Monitor:
    """Names what goes wrong while a model trains through samples, and what to change.

    Give it, every hundred steps or so, whatever of a step is at hand. Most sicknesses are looked
    for after 300 steps, in the mean of the last two observations.

    >>> import torch
    >>> monitor = Monitor()
    >>> logits = torch.zeros(16, 10, requires_grad=True)
    >>> for step in (300, 400):
    ...     found = monitor.observe(step=step, loss=98.0, soft=torch.softmax(logits / 50, -1))
    >>> found[0].symptom
    'gradient insensitive to logits'
    >>> found[0].remedy
    '--tau exponential:start=1,end=0.5'
    """

    def __init__(self) -> None:
        self.recent: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=2))
        self.named: set[str] = set()
        self.standing: dict[str, Diagnosis] = {}
        """What the last observations show, by symptom: a sickness that is over is not among it."""

    def observe(
        self,
        *,
        step: int,
        loss: Tensor | float | None = None,
        logits: Tensor | None = None,
        samples: Tensor | None = None,
        soft: Tensor | None = None,
        gradients: tuple[Tensor, Tensor] | None = None,
        kl: Tensor | float | None = None,
        **signs: float,
    ) -> list[Diagnosis]:
        """What this step shows for the first time.

        step: from 0. loss: a scalar. logits: of the categorical posterior, `(B, *units, K)`.
        samples: of any kind, `(*batch, K)`. soft: the relaxed samples `(*batch, K)`, if those are
            hard. Samples that depend on the logits are checked to be one-hot, with soft's gradient.
        gradients: each example's cost in the logits, of two independent draws, `(B, *units, K)`.
        kl: of each unit `(B, units)`, or a float, the sum; in nats.
        signs: any other of `reparam.diagnostics.NAMES`, or `NAME_moves` of a schedule's range over
            its largest value.
        """
        found = dict(_known(signs))
        if loss is not None:
            found["loss"] = loss.item() if isinstance(loss, Tensor) else loss
        if isinstance(kl, Tensor):
            found |= vitals.of_kl(kl)
        elif kl is not None:
            found["kl"] = kl
        if logits is not None:
            found |= vitals.of_codes(logits, kl if isinstance(kl, Tensor) else None)
        found |= _of_samples(samples, soft, logits)
        if gradients is not None:
            found |= vitals.of_gradients(*gradients)
        return self.judge(step, found)

    def judge(self, step: int, signs: Signs) -> list[Diagnosis]:
        """The same of signs that are already numbers, by name."""
        if step >= LEAST:
            for name, value in signs.items():
                self.recent[name].append(value)
        lasting = {name: sum(two) / 2 for name, two in self.recent.items() if len(two) == 2}
        return [
            new
            for sickness in SICKNESSES
            if _readable(sickness, signs)
            for new in self._named(sickness, step, lasting if sickness.lasting else signs)
        ]

    def _named(self, sickness: Sickness, step: int, signs: Signs) -> Iterable[Diagnosis]:
        """The diagnosis, if it is new; whether it stands."""
        evidence = sickness.shows(signs)
        if evidence is None:
            self.standing.pop(sickness.symptom, None)
            return
        diagnosis = sickness.diagnosis(f"step {step}: {evidence}")
        self.standing[sickness.symptom] = diagnosis
        if sickness.symptom not in self.named:
            self.named.add(sickness.symptom)
            yield diagnosis


def _readable(sickness: Sickness, signs: Signs) -> bool:
    """Whether one of the signs that the rule reads is there."""
    return not sickness.reads or any(name.endswith(sickness.reads) for name in signs)


def _of_samples(
    samples: Tensor | None, soft: Tensor | None, logits: Tensor | None
) -> dict[str, float]:
    if samples is None:
        return {} if soft is None else vitals.of_relaxed(soft)
    if soft is None:
        hard = vitals.off_one_hot(samples) < 1e-6
        return {} if hard else vitals.of_relaxed(samples)
    found = vitals.of_relaxed(soft)
    if logits is not None and soft.requires_grad:
        found |= vitals.of_straight_through(samples, soft, logits)
    return found


def _known(signs: Mapping[str, Any]) -> dict[str, float]:
    """The signs by name, unless one is none."""
    unknown = [name for name in signs if name not in NAMES and not name.endswith("_moves")]
    if unknown:
        raise TypeError(
            f"observe: expected signs among {', '.join(NAMES)} and NAME_moves, got "
            f"{', '.join(unknown)}"
        )
    return {name: float(value) for name, value in signs.items()}
