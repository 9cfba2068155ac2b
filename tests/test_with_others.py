"""The pages on other people's tools run, each in a process of its own: Pyro changes torch's."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGES = Path(__file__).resolve().parents[1] / "docs" / "with"
NEEDS = {"lightning": "lightning", "hugging-face": "accelerate", "pyro": "pyro", "export": "onnx"}


def test_every_page_is_run():
    """None is left out."""
    assert {page.stem for page in PAGES.glob("*.md")} == set(NEEDS)


@pytest.mark.parametrize("page", NEEDS)
def test_the_page_runs(page, tmp_path):
    """Its Python blocks, one after another, with the assertions that are in them."""
    if find_spec(NEEDS[page]) is None:
        pytest.skip(f"needs {NEEDS[page]}")
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    (tmp_path / "page.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
