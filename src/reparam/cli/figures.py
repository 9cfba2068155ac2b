"""`reparam figures`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from reparam.cli.frame import Debug, bar, console, make, reported
from reparam.training.settings import check_seed


def figures(
    *,
    out: Annotated[Path, Parameter(name="--out")] = Path("figures"),
    only: Annotated[
        list[str] | None, Parameter(name="--only", negative="", consume_multiple=True)
    ] = None,
    seed: Annotated[int, Parameter(name="--seed")] = 0,
    html: Annotated[bool, Parameter(name="--html", negative="")] = False,
    debug: Debug = False,
) -> None:
    """Recompute the explanatory figures: PNG, SVG, their numbers, and one page of them all.

    Parameters
    ----------
    out
        Folder for them.
    only
        Names of some; by default all.
    seed
        Of all random numbers.
    html
        Also write explorer.html, which has a temperature to move.
    """
    with reported(debug) as stage:
        from reparam.figures.write import chosen, write_figure, write_index  # noqa: PLC0415 (torch)

        check_seed(seed)
        names = chosen(only or [])
        make(out)
        found = {}
        with bar(stage) as progress:
            for done, name in enumerate(names):
                progress(done, len(names))
                found[name] = write_figure(name, seed, out)
        console.print(f"page: {write_index(found, seed, out)}", soft_wrap=True)
        if html:
            from reparam.figures.interactive import write_explorer  # noqa: PLC0415

            console.print(f"explorer: {write_explorer(found, seed, out)}", soft_wrap=True)
