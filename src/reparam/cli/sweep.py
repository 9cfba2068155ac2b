"""`reparam sweep`."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from reparam.cli.frame import Debug, console, fail, make, reported
from reparam.cli.train import Tensorboard, Tracker, hooks


def sweep(
    file: Path,
    *,
    out: Annotated[Path | None, Parameter(name="--out")] = None,
    jobs: Annotated[int | None, Parameter(name="--jobs")] = None,
    cluster: Annotated[str | None, Parameter(name="--cluster")] = None,
    summary: Annotated[bool, Parameter(name="--summary", negative="")] = False,
    tensorboard: Tensorboard = False,
    tracker: Tracker = None,
    debug: Debug = False,
) -> None:
    """Train every combination of options that a TOML file lists, and sum them up in one table.

    The same command goes on where it was stopped, and tries again what failed for want of memory
    or data. Exit status: 0 all runs are done, 1 some failed, 2 bad arguments, 130 interrupted.

    Parameters
    ----------
    file
        A TOML file: `model`, the table `[options]` of all runs, and `[grid]` of lists.
    out
        Folder for the runs and their summary; by default one under sweeps/, named like the file.
    jobs
        Runs at a time on this machine; by default one for each core.
    cluster
        dask://HOST:PORT, ray, ray://HOST:PORT, or slurm, whose options are the file's `[slurm]`.
    summary
        Train nothing: only sum up what there is.
    """
    with reported(debug) as stage:
        from reparam.recipes.tracking import hook  # noqa: PLC0415 (torch takes a second)
        from reparam.sweeps.places import place  # noqa: PLC0415
        from reparam.sweeps.plan import read_plan  # noqa: PLC0415
        from reparam.sweeps.summary import cells, table  # noqa: PLC0415
        from reparam.sweeps.sweep import summarized, train  # noqa: PLC0415

        plan = read_plan(file)
        out = out or Path("sweeps") / file.stem
        watching = hooks(tensorboard, tracker)
        for name in watching:
            hook(name)
        stopped = False
        if not summary:
            plan.check()
            where = place(cluster, jobs, plan.slurm, out)
            make(out)
            stage.begun()
            stopped = train(plan, out, where, watching, _show)
        found, report = summarized(plan, out)
        console.print(table(cells(found)), f"report: {report}", sep="\n", soft_wrap=True)
    if stopped:
        fail(f"stopped; continue with: {shlex.join(['reparam', *sys.argv[1:]])}", 130)
    failed = [o for o in found if o.state == "failed"]
    if failed:
        fail(
            f"{len(failed)} of {len(found)} runs failed, first {failed[0].name}: "
            f"{failed[0].message}",
            1,
        )


def _show(run: object) -> None:
    console.print(str(run), markup=False, soft_wrap=True)
