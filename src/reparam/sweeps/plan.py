"""What a sweep is made of: a TOML file, read strictly, and the settings of its runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from reparam.data import DataError
from reparam.recipes import MODELS
from reparam.recipes.lookup import prepared
from reparam.recipes.options import checked, known, model_of, read
from reparam.training.settings import Settings

TABLES = dict.fromkeys(("model", "options", "grid", "slurm"))


@dataclass(frozen=True)
class Plan:
    """runs: their settings, all different. varied: the options in which they may differ.

    slurm: how Slurm is to be asked, by the names of `submitit`.
    """

    file: Path
    model: str
    runs: list[Settings]
    varied: list[str]
    slurm: dict[str, Any]

    def cell(self, settings: Settings) -> dict[str, Any]:
        """What a run has in common with those that differ from it in the seed alone."""
        return {name: getattr(settings, name) for name in self.varied if name != "seed"}

    def name(self, settings: Settings) -> str:
        """The options that vary, the seed last."""
        seed = {"seed": settings.seed} if "seed" in self.varied else {}
        return named(self.cell(settings) | seed) or self.model

    def check(self) -> None:
        """Refuse what cannot be trained: one run of each cell is built."""
        for cell, settings in {named(self.cell(run)): run for run in self.runs}.items():
            try:
                prepared(settings)
            except DataError:
                raise
            except (ValueError, TypeError) as error:
                raise ValueError(f"{self.file}: {cell or self.model}: {error}") from error


def named(options: Mapping[str, Any]) -> str:
    """For people.

    >>> named({"estimator": "rloo", "samples": 4})
    'estimator=rloo samples=4'
    """
    return " ".join(f"{name}={value}" for name, value in options.items())


def read_plan(file: Path) -> Plan:
    """The plan of a TOML file.

    `model` names the model, `[options]` what all runs have, `[grid]` a value or a list of values of
    each option: every combination is a run. Several grids, `[[grid]]`, follow one another.
    """
    values = read(file, "sweep")
    for key in values:
        known(key, TABLES, f"{file}: table")
    model = model_of(values, str(file))
    common = _table(values.get("options", {}), f"{file}: [options]")
    options = checked(model, common, f"{file}: [options]")
    grids = values.get("grid", {})
    grids = grids if isinstance(grids, list) else [grids]
    if not grids:
        raise ValueError(f"{file}: [grid]: expected a table or several, got none")
    chosen = [own for grid in grids for own in _combined(model, grid, options, file)]
    varied = list(dict.fromkeys(name for own in chosen for name in own))
    slurm = _table(values.get("slurm", {}), f"{file}: [slurm]")
    plan = Plan(file, model, [], varied, slurm)
    for own in chosen:
        _add(plan, options | own)
    return plan


def _combined(
    model: str, grid: Any, options: Mapping[str, Any], file: Path
) -> Iterator[dict[str, Any]]:
    where = f"{file}: [grid]"
    axes: dict[str, list[Any]] = {}
    for written, listed in _table(grid, where).items():
        values = listed if isinstance(listed, list) else [listed]
        axis = [checked(model, {written: value}, where) for value in values]
        if not axis:
            raise ValueError(f"{where}: {written}: expected a value or several, got none")
        (name,) = axis[0]
        if name in options or name in axes:
            raise ValueError(f"{where}: {written}: expected it once, got it in [options] or twice")
        axes[name] = [own[name] for own in axis]
    return (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))


def _add(plan: Plan, values: dict[str, Any]) -> None:
    try:
        settings = MODELS[plan.model](**values)
    except ValueError as error:
        own = {name: values[name] for name in plan.varied if name in values}
        raise ValueError(f"{plan.file}: {named(own) or plan.model}: {error}") from None
    if settings in plan.runs:
        raise ValueError(
            f"{plan.file}: [grid]: expected runs that differ, got {plan.name(settings)} twice"
        )
    plan.runs.append(settings)


def _table(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what}: expected a table, got {value!r}")  # noqa: TRY004 (of a file)
    return value
