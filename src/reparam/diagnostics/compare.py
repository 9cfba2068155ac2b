"""rp.compare: estimators side by side on a person's own q and cost."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from torch import Tensor
from torch.distributions import Distribution

from reparam.checks import check_count
from reparam.core import Estimator
from reparam.diagnostics.comparison import Comparison
from reparam.diagnostics.parallel import runner
from reparam.diagnostics.parameters import Params, groups
from reparam.diagnostics.state import undisturbed
from reparam.diagnostics.study import Named, Progress, Study, by_name
from reparam.diagnostics.trials import BLOCKS, Subject


def compare(
    cost: Callable[[Tensor], Tensor],
    q: Distribution | Callable[[], Distribution],
    estimators: Sequence[Estimator | str] | Named | Estimator | str,
    *,
    n: int | Iterable[int] = 4,
    trials: int = 1000,
    params: Params | None = None,
    exact: Callable[[], Tensor] | None = None,
    reference: Estimator | str | None = None,
    seed: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Comparison:
    """Measure the gradients that estimators give on a model as it stands, and what they take.

    The model is left as it was found. `Comparison` defines every figure.

    cost: points `(P, *batch, *event)` -> `(P, *batch)`, each by its own point; one in which points
        meet, as in batch normalization while it trains, is told in the `note` of what is found.
    q: a distribution, or a function that builds it anew for each trial.
    estimators: instances or specs, or either by name; one or several.
    n: samples of a draw, one or several numbers of them.
    trials: independent gradients for each row; rounded up to a multiple of 16.
    params: tensors, named or listed, or a module; by default the leaves that q was computed from.
        48 copies of them in float64 must fit into memory.
    exact: returns E_q[cost], `(*batch)`, with its graph, where that is known.
    reference: unbiased, for the truth where neither `exact` nor enumeration gives it; by default
        'rloo', right for any cost. 'pathwise' is sharper where q and the cost are smooth.
    jobs: processes, by joblib; q must then be a function. All but times is the same for any number.
    progress: told how many of the rows are done, and of how many.

    >>> import torch
    >>> from torch.distributions import OneHotCategorical
    >>> logits = torch.zeros(5, 3, requires_grad=True)
    >>> q = OneHotCategorical(logits=logits)
    >>> cost = lambda points: (points * torch.arange(3.0)).sum(-1).square()
    >>> found = compare(cost, q, ["rloo", "gumbel-softmax:tau=0.5"], n=2, trials=160)
    >>> [(row["estimator"], row["biased"]) for row in found.rows]
    [('rloo', False), ('gumbel-softmax:tau=0.5', True)]
    """
    counts = list(dict.fromkeys(n)) if isinstance(n, Iterable) and not isinstance(n, str) else [n]
    check_count("n: how many numbers are given", len(counts))
    for count in counts:
        check_count("n", count)
    check_count("trials", trials, least=2 * BLOCKS)
    run, build, named = runner(jobs), _builder(q, jobs), by_name(estimators)
    with undisturbed(cost, q, params, exact, named) as state:
        chosen = groups(params, _built(build))
        state.renew()
        subject = Subject(build, cost, _different(chain(*chosen.values())))
        trials = -(-trials // BLOCKS) * BLOCKS
        study = Study(subject, chosen, named, counts, trials, seed, run, exact, reference)
        return study.comparison(progress)


def _built(build: Callable[[], Distribution]) -> Distribution:
    made = build()
    if not isinstance(made, Distribution):
        raise TypeError(
            "q: expected a torch.distributions.Distribution or a function that returns one, got a "
            f"function that returns {type(made).__name__}; return OneHotCategorical(logits=...) "
            "for logits"
        )
    return made


def _builder(q: Distribution | Callable[[], Distribution], jobs: int) -> Callable[[], Distribution]:
    if not isinstance(q, Distribution):
        if not callable(q):
            raise TypeError(
                "q: expected a torch.distributions.Distribution or a function that returns one, "
                f"got {type(q).__name__}; wrap logits as OneHotCategorical(logits=...)"
            )
        return q
    if jobs != 1:
        raise ValueError(
            "q: expected a function that builds the distribution, as other processes cannot share "
            f"its graph, got {type(q).__name__} with jobs={jobs}; pass q=lambda: ... or jobs=1"
        )
    return lambda: q


def _different(tensors: Iterable[Tensor]) -> list[Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())
