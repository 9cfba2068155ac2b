"""`reparam doctor`."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from reparam.cli.frame import Debug, console, reported


def doctor(
    run: Path | None = None,
    *,
    check: Annotated[str | None, Parameter(name="--check")] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    debug: Debug = False,
) -> None:
    """Say what is wrong with a run or a sampler, by which numbers, why, and what to change.

    Exit status: 0 nothing found, 1 something found, 2 bad arguments.

    Parameters
    ----------
    run
        A run folder, finished or not, a .jsonl or .csv file of metrics by step, or a folder of
        TensorBoard events.
    check
        A straight-through sampler f(logits, tau=...) to examine: MODULE:FUNCTION or
        FILE.py:FUNCTION. It is imported and called.
    as_json
        Print JSON.
    """
    with reported(debug):
        from reparam.diagnostics.doctor import examine, examine_function  # noqa: PLC0415 (torch)

        if (run is None) == (check is None):
            raise ValueError("doctor: expected a run folder or --check FUNCTION, one of them")
        found = examine_function(check) if check else examine(run or Path())
        text = json.dumps(found.asdict(), indent=2) if as_json else str(found)
        console.print(text, soft_wrap=True, markup=False)
    if not found.healthy:
        raise SystemExit(1)
