"""The pages on other people's tools run, each in a process of its own: Pyro changes torch's."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGES = Path(__file__).resolve().parents[1] / "docs" / "with"
NEEDS = {
    "loop": "sklearn",
    "lightning": "lightning",
    "hugging-face": "accelerate",
    "pyro": "pyro",
    "export": "onnx",
}


def test_every_page_is_run():
    """None is left out."""
    assert {page.stem for page in PAGES.glob("*.md")} == set(NEEDS)


@pytest.mark.parametrize("page", NEEDS)
def test_the_page_runs(page, tmp_path):
    """Its Python blocks, one after another, with the assertions that are in them."""
    if find_spec(NEEDS[page]) is None:
        pytest.skip(f"needs {NEEDS[page]}")
    run("\n".join(blocks(page)), tmp_path)


def test_what_an_estimator_learns_is_averaged_by_accelerate(tmp_path):
    """As the page does it, in two processes with data of their own; accelerate does the policy."""
    pytest.importorskip("accelerate")
    other = "torch.manual_seed(accelerator.process_index)\nfor _ in range(20):"
    code = blocks("hugging-face")[0].replace("for _ in range(200):", other)
    code = code[: code.index("assert policy(")] + COMPARED
    run(code, tmp_path, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


COMPARED = """
import os

from accelerate.utils import gather_object

for parameter in (*policy.parameters(), *estimator.parameters()):
    one, other = gather_object([parameter.tolist()])
    assert one == other
accelerator.wait_for_everyone()
os._exit(0)  # gloo's threads may abort a process that ends as others do
"""


def blocks(page):
    """The Python blocks of a page."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def run(code, folder, *launcher):
    """In a process of its own, one thread, in that folder; it must end well."""
    (folder / "page.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    done = subprocess.run(  # noqa: S603
        [sys.executable, *launcher, "page.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
