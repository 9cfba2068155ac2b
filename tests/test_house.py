"""The house keeps its order: nothing imports upwards, nothing grows out of bounds."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "reparam"
FILES = sorted(SOURCE.rglob("*.py"))


def rooms():
    """The rooms of the house, from the ground up, as CONTRIBUTING.md lists them."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    plan = re.search(r"```\nsrc/reparam/\n(.*?)```", text, re.DOTALL).group(1)
    return [line.split()[0].removesuffix(".py").rstrip("/") for line in plan.splitlines()]


def imported(path):
    """The rooms that a file imports, lazily or not."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("reparam"):
            parts = node.module.split(".")[1:]
            yield from parts[:1] or [alias.name for alias in node.names]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_nothing_imports_upwards(path):
    """A file imports from its own room and from those below it."""
    order = {name: height for height, name in enumerate(rooms())}
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if room in ("__init__", "__main__"):
        return
    above = {name for name in imported(path) if order.get(name, -1) > order[room]}
    assert not above


def test_every_room_is_on_the_plan():
    """The plan of the house names every room, and no other."""
    found = {p.relative_to(SOURCE).parts[0].removesuffix(".py") for p in FILES}
    assert set(rooms()) == found - {"__init__", "__main__"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_and_functions_stay_small(path):
    """No file is over 600 lines and no function longer than a screen."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 600
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name
