"""What the documentation shows runs: every docstring example and every Python block."""

import doctest
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest
import torch

import reparam

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    # Those on other people's tools run in processes of their own (test_with_others.py).
    *sorted(p for p in (ROOT / "docs").rglob("*.md") if p.parent.name != "with"),
]
MODULES = [
    m.name
    for m in pkgutil.walk_packages(reparam.__path__, "reparam.")
    if m.name != "reparam.__main__"
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    """Docstring examples give what they say."""
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, extraglobs={"torch": torch})
    assert failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_page_examples(page):
    """The Python blocks of a page run, one after another, in one namespace."""
    namespace = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            exec(compile(block, str(page), "exec"), namespace)  # noqa: S102


@pytest.mark.parametrize("name", reparam.ESTIMATORS)
def test_estimator_page_is_current(name):
    """Each estimator's page says what its class says today."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    page = (ROOT / "docs" / "estimators" / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(generate.head(name, reparam.ESTIMATORS[name]))


def test_first_example_is_short():
    """The README's first example fits fifteen lines."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    assert len(first.strip().splitlines()) <= 15


def test_public_functions_are_documented():
    """Everything public says what it is."""
    for name in reparam.__all__:
        value = getattr(reparam, name)
        assert getattr(value, "__doc__", None), name
    for cls in reparam.ESTIMATORS.values():
        definition, reference, *_, when, _ = cls.__doc__.split("\n\n")
        assert when.strip().startswith("Use it "), cls
        assert len(definition) > 20, cls
        assert re.search(r"\b(19|20)\d\d\b|by definition", reference), f"{cls}: no reference"
        assert ">>>" in cls.__doc__, f"{cls}: no example"
