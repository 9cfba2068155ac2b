"""What the documentation shows runs: every docstring example and every Python block."""

import doctest
import importlib
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


@pytest.fixture
def docs(monkeypatch):
    """What writes the measured pages."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module


@pytest.mark.parametrize("name", reparam.ESTIMATORS)
def test_estimator_page_is_current(name, docs):
    """Each estimator's page says what its class says today."""
    page = (ROOT / "docs" / "estimators" / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(docs("generate").head(name, reparam.ESTIMATORS[name]))


def test_the_index_of_estimators_is_current(docs):
    """What each claims, costs and serves."""
    page = (ROOT / "docs" / "estimators" / "index.md").read_text(encoding="utf-8")
    assert page == docs("generate").index()


def test_the_choosing_page_is_current(docs):
    """A problem that is quick is measured again, to the digits shown; none is missing."""
    choosing, page = docs("choosing"), (ROOT / "docs" / "choose.md").read_text(encoding="utf-8")
    for name, make in reparam.PROBLEMS.items():
        assert f"### {name}\n\n{make().about[0].upper()}{make().about[1:]}.\n" in page
    found = choosing.measure(reparam.PROBLEMS["gaussian2"]())
    assert choosing.everything(found) in page
    for black_box in (True, False):
        row = choosing.ranking({"gaussian2": found}, black_box=black_box).splitlines()[-1]
        assert row in page


def test_errors_shrink_with_what_is_paid(docs):
    """By the square root, down to the bias; nothing is bought with less than a draw costs."""
    measured = docs("choosing").Measured("a", reparam.Score(), 4, 3.0, 16.0, 2.0)
    assert measured.error(3) == float("inf")
    assert measured.error(4) == measured.error(7) == 2.5
    assert measured.error(4 * 10**12) == pytest.approx(1.5)


def test_what_to_write_instead_runs():
    """Each `rp.` expression in the tables of the migration page, on what the page calls so."""
    page = (ROOT / "docs" / "migrate.md").read_text(encoding="utf-8")
    rows = [row.split(" | ")[1] for row in page.splitlines() if row.count(" | ") >= 1]
    shown = [code for now in rows for code in re.findall(r"`((?:\w+ = )?rp\..*?)`", now)]
    logits = torch.randn(4, 3, requires_grad=True)
    names = {
        "rp": reparam,
        "cost": lambda points: points.square().sum(-1),
        "q": torch.distributions.Independent(torch.distributions.Normal(logits, 1.0), 1),
        "logits": logits,
        "l": logits,
        "m": torch.tensor([True, False, True]),
        "network": torch.nn.Linear(3, 1),
        "net": torch.nn.Linear(3, 1),
        "tau": 0.5,
        "n": 4,
        "steps": 100,
    }
    assert len(shown) > 20
    for code in shown:
        if code.startswith("draw = "):
            names["q"] = torch.distributions.OneHotCategorical(logits=logits)
        exec(code, names)  # noqa: S102


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
