"""What the command line compares, by name: a reference problem, or a file of a person's own."""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from reparam.diagnostics.blame import said
from reparam.diagnostics.compare import compare
from reparam.diagnostics.comparison import Comparison
from reparam.diagnostics.parameters import Params
from reparam.estimators import ESTIMATORS
from reparam.problems import PROBLEMS, Problem


@dataclass(frozen=True)
class Posed:
    """What a problem says of the arguments of `compare`."""

    q: Distribution | Callable[[], Distribution]
    cost: Callable[[Tensor], Tensor]
    params: Params | None = None
    exact: Callable[[], Tensor] | None = None

    def compare(self, estimators: Sequence[str], n: Sequence[int], **chosen: Any) -> Comparison:
        """With the arguments that it leaves open."""
        return compare(
            self.cost, self.q, estimators, n=n, params=self.params, exact=self.exact, **chosen
        )


def counted(text: str) -> list[int]:
    """Numbers with commas between them."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--n: expected integers with commas, such as 1,4,16, got {text!r}"
        ) from None


def posed(name: str) -> Posed:
    """A problem of `PROBLEMS`, or `FILE.py:NAME`.

    NAME is a `Problem`; or has attributes q and cost, and perhaps params and exact, as `compare`
    takes them; or is a tuple of these; or a function or class that makes one of them. Without
    NAME, the attributes are the file's own.
    """
    if name in PROBLEMS:
        return _read(PROBLEMS[name](), name)
    path, _, attribute = name.rpartition(":") if ".py:" in name else (name, "", "")
    if not path.endswith(".py"):
        near = get_close_matches(name, PROBLEMS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"--problem: expected one of {', '.join(PROBLEMS)}, or FILE.py:NAME, got {name!r}{hint}"
        )
    module = _imported(Path(path))
    if not attribute:
        return _read(module, name)
    if not hasattr(module, attribute):
        raise ValueError(f"--problem: expected a name that {path} defines, got {attribute!r}")
    return _read(getattr(module, attribute), name)


def serving(q: Distribution | Callable[[], Distribution]) -> list[str]:
    """The estimators that take q by their defaults, those of multi-sample bounds aside."""
    made = q if isinstance(q, Distribution) else q()
    return [name for name, cls in ESTIMATORS.items() if not cls.multisample and _fits(cls, made)]


def _fits(cls: type[Any], q: Distribution) -> bool:
    if any(f.init and f.default is MISSING for f in fields(cls)):
        return False
    try:
        cls().draw(q, 2, generator=torch.Generator().manual_seed(0))
    except (TypeError, ValueError):
        return False
    return True


def _imported(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"--problem: expected a Python file, got {path}, which is none")
    name = f"reparam_problem_{path.stem}"
    spec = spec_from_file_location(name, path)
    assert spec  # noqa: S101 (the name ends in .py)
    assert spec.loader  # noqa: S101
    module = module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))  # for what lies beside it
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"--problem: expected a file that can be imported, got {path}, which raises "
            f"{type(error).__name__}: {error}"
        ) from error
    with suppress(ImportError):  # other processes cannot import it
        import_module("cloudpickle").register_pickle_by_value(module)
    return module


def _read(found: Any, name: str) -> Posed:
    given = hasattr(found, "q") and hasattr(found, "cost")
    if isinstance(found, type) or (callable(found) and not given):
        try:
            found = found()
        except Exception as error:
            raise ValueError(
                f"--problem: expected {name} to make q and cost, got {said(error)}"
            ) from error
    if isinstance(found, Problem):
        return Posed(
            found.q, lambda points: found.cost(points, found.weight), found.params, found.exact
        )
    if isinstance(found, tuple) and 2 <= len(found) <= 4:
        return Posed(*found)
    if hasattr(found, "q") and hasattr(found, "cost"):
        optional = (getattr(found, part, None) for part in ("params", "exact"))
        return Posed(found.q, found.cost, *optional)
    raise ValueError(
        f"--problem: expected {name} to have q and cost, or to return them, got "
        f"{type(found).__name__}"
    )
