"""One comparison, step by step: the truth, what is refused, the trials, the rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reparam.core import Estimator
from reparam.diagnostics.blame import said
from reparam.diagnostics.comparison import Comparison
from reparam.diagnostics.coupling import NOTE, coupled
from reparam.diagnostics.figures import added, figures, flat, grams, median
from reparam.diagnostics.parallel import Run
from reparam.diagnostics.parameters import Groups
from reparam.diagnostics.trials import BLOCKS, Blocks, Price, Subject, measure, price, seeds
from reparam.diagnostics.truth import SAMPLES, LongRun, Truth, bound_truth, long_run, truth
from reparam.specs import estimator as from_spec

Named = Mapping[str, Estimator | str]
Progress = Callable[[int, int], object]
Row = dict[str, Any]
Prices = dict[tuple[str, int], Price]


@dataclass(frozen=True)
class Study:
    """What is compared, and how; `compare` says what each is."""

    subject: Subject
    groups: Groups
    estimators: Mapping[str, Estimator]
    counts: Sequence[int]
    trials: int
    seed: int
    run: Run
    exact: Callable[[], Tensor] | None
    reference: Estimator | str | None

    def comparison(self, progress: Progress | None) -> Comparison:
        """All rows."""
        truths = self._truths()
        note = NOTE if coupled(self.subject, self.seed) else ""
        prices, refused = self._prices()
        blocks = seeds(self.seed, 0, self.trials)
        found = self.run(
            _attempted,
            [
                (self.subject, self.estimators[name], n, blocks, truths[n].mean.mean(0))
                for name, n in prices
            ],
        )
        rows: list[Row] = []
        tell = progress or (lambda done, total: None)
        tell(0, len(prices))
        for done, ((name, n), result) in enumerate(zip(prices, found, strict=True), 1):
            tell(done, len(prices))
            if isinstance(result, str):
                refused[name] = "; ".join(filter(None, [refused.get(name), f"n = {n}: {result}"]))
                continue
            given = {"estimator": name, "n": n, "trials": self.trials}
            taken = {**flat("seconds", median(result.seconds)), **prices[name, n]._asdict()}
            rows += [
                {**given, "group": group, **statistics, **taken}
                for group, statistics in self._statistics(result, truths[n])
            ]
        method = "; ".join(dict.fromkeys(found.method for found in truths.values()))
        return Comparison(rows, refused, method, self.seed, note)

    @property
    def _of_bounds(self) -> bool:
        """Whether all estimators are of multi-sample bounds, whose truth depends on n."""
        return all(estimator.multisample for estimator in self.estimators.values())

    def _truths(self) -> dict[int, Truth]:
        reference = self.reference
        reference = from_spec(reference) if isinstance(reference, str) else reference
        found: dict[int, Truth] = {}
        for n in self.counts:
            if self._of_bounds and n > 1:
                found[n] = bound_truth(n, self._long_run(n))
        if len(found) < len(self.counts):
            usual = truth(
                self.subject,
                self.seed,
                exact=self.exact,
                reference=reference,
                long_run=self._long_run(max(SAMPLES, *self.counts)),
            )
            found = {n: found.get(n, usual) for n in self.counts}
        return found

    def _long_run(self, n: int) -> LongRun:
        return long_run(self.subject, n, self.trials, self.seed, self.run)

    def _prices(self) -> tuple[Prices, dict[str, str]]:
        """What each draw takes; and of the estimators that cannot be measured, why."""
        prices: Prices = {}
        refused: dict[str, str] = {}
        for name, estimator in self.estimators.items():
            reasons: dict[str, list[str]] = {}
            for n in self.counts:
                try:
                    self._check_kind(estimator)
                    prices[name, n] = price(self.subject, estimator, n, self.seed)
                except Exception as error:  # noqa: BLE001 (of somebody's estimator: anything)
                    reasons.setdefault(said(error), []).append(str(n))
            if reasons:
                refused[name] = "; ".join(
                    reason if len(at) == len(self.counts) else f"n = {', '.join(at)}: {reason}"
                    for reason, at in reasons.items()
                )
        return prices, refused

    def _check_kind(self, estimator: Estimator) -> None:
        if estimator.multisample and not self._of_bounds:
            raise ValueError(
                "it estimates the gradient of E log (1/n) sum exp cost, not of E cost; compare it "
                "with others of multi-sample bounds"
            )

    def _statistics(self, blocks: Blocks, truth: Truth) -> Iterator[tuple[str, Row]]:
        """The figures of all parameters together, then of each group if there are several."""
        parts = zip(
            self.subject.split(blocks.mean),
            self.subject.split(truth.mean),
            blocks.square.unbind(1),
            strict=True,
        )
        by_tensor = {
            id(x): grams(*part) for x, part in zip(self.subject.tensors, parts, strict=True)
        }
        eps = max(torch.finfo(x.dtype).eps for x in self.subject.tensors)
        groups = {"all": self.subject.tensors, **(self.groups if len(self.groups) > 1 else {})}
        for group, members in groups.items():
            together = added([by_tensor[id(x)] for x in members])
            yield group, figures(together, self.trials // BLOCKS, eps)


def _attempted(*trials: Any) -> Blocks | str:
    """What `measure` finds, or why it could not go on: the other rows are still wanted."""
    try:
        return measure(*trials)
    except Exception as error:  # noqa: BLE001 (of somebody's code: anything)
        return said(error)


def by_name(
    estimators: Sequence[Estimator | str] | Named | Estimator | str,
) -> dict[str, Estimator]:
    """Instances by what they are called: a name given, a spec, or how Python writes them."""
    if isinstance(estimators, str | Estimator):
        estimators = [estimators]
    if not isinstance(estimators, Mapping):
        names = [str(estimator) for estimator in estimators]
        if len(set(names)) < len(names):
            raise ValueError(
                f"estimators: expected each once, got {', '.join(names)}; give those that read the "
                "same names of their own, as {'name': estimator}"
            )
        estimators = dict(zip(names, estimators, strict=True))
    if not estimators:
        raise ValueError("estimators: expected at least one, got none; try ['rloo']")
    made = {name: from_spec(e) if isinstance(e, str) else e for name, e in estimators.items()}
    for name, estimator in made.items():
        if not isinstance(estimator, Estimator):
            raise TypeError(
                f"estimators: expected instances or specs, got {name}; write rp.Rloo() or 'rloo'"
            )
    return made
