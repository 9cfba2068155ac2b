"""`reparam compare`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from reparam.cli.frame import Debug, bar, console, make, reported


def compare(
    *estimators: str,
    problem: Annotated[str, Parameter(name="--problem")],
    n: Annotated[str, Parameter(name="--n")] = "1,4,16",
    trials: int = 1000,
    seed: int = 0,
    jobs: int = 1,
    out: Annotated[Path | None, Parameter(name="--out")] = None,
    debug: Debug = False,
) -> None:
    """Measure the gradients of estimators on a problem: bias, variance, error, time, memory.

    Parameters
    ----------
    estimators
        Names of `reparam list`, with their fields; by default all that serve.
    problem
        A reference problem, such as categorical8, or FILE.py:NAME, something with q and cost.
    n
        Samples of a draw: a number, or several with commas.
    trials
        Independent gradients of each.
    seed
        Of all trials.
    jobs
        Processes to share the work.
    out
        Folder for a report and its figures; by default they are only printed.
    """
    with reported(debug) as stage:
        from reparam.diagnostics.lookup import counted, posed, serving  # noqa: PLC0415 (torch)

        subject = posed(problem)
        chosen = estimators or serving(subject.q)
        if out is not None:
            make(out)
        with bar(stage) as progress:
            found = subject.compare(
                chosen, counted(n), trials=trials, seed=seed, jobs=jobs, progress=progress
            )
        console.print(found.table(), soft_wrap=True, markup=False)
        if found.advice:
            console.print(f"\n{found.advice}", soft_wrap=True, markup=False)
        if out is not None:
            console.print(f"report: {found.save(out / 'compare.html')}", soft_wrap=True)
