"""The docstrings of NumPy, SciPy and scikit-learn: real documents, there without a download.

They speak of filters, clusters, quadrature, tests, files: topics that anybody can judge.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from reparam.data.extras import optional

PACKAGES = ("numpy", "scipy", "sklearn")
LEAST_WORDS = 50
"""Shorter ones say too little."""

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def docstrings() -> list[str]:
    """Return thousands of docstrings of modules, classes and functions, examples' code left out.

    Sources are parsed, not imported. Which they are depends on the packages' versions, their order
    on the files' names.

    Raises:
        ImportError: without scikit-learn, which brings the others.
    """
    roots = [Path(optional(name, "text to train on").__file__).parent for name in PACKAGES]
    texts = (_prose(text) for root in roots for path in _sources(root) for text in _of(path))
    # Wrappers repeat what they wrap; a dictionary keeps the first of each, in order.
    return list(dict.fromkeys(text for text in texts if len(text.split()) >= LEAST_WORDS))


def _sources(root: Path) -> Iterator[Path]:
    """The files of a package, but for its tests."""
    for path in sorted(root.rglob("*.py")):
        if "tests" not in path.relative_to(root).parts:
            yield path


def _of(path: Path) -> Iterator[str]:
    """The docstrings of a file, from the top."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _DOCUMENTED):
            yield ast.get_docstring(node) or ""
            waiting += reversed(node.body)


def _prose(text: str) -> str:
    return "\n".join(s for s in text.splitlines() if not s.lstrip().startswith((">>>", "...")))
