"""What is released: the same bytes from the same sources, nothing missing, nothing besides."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import reparam

pytest.importorskip("build")

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("src", "tests", "benchmarks", "docs")
FILES = (
    "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "constraints.txt",
    "dev.py", "zensical.toml",
)  # fmt: skip


def built(home):
    """The wheel and the source package, built from a copy of the sources that lies elsewhere."""
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in SOURCES:
        shutil.copytree(ROOT / name, home / name, ignore=unwanted)
    for name in FILES:
        (home / name).write_bytes((ROOT / name).read_bytes())  # not its time
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", "out"]
    environment = {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"}
    done = subprocess.run(  # noqa: S603
        command, cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    wheel, source = sorted((home / "out").iterdir(), key=lambda path: path.suffix, reverse=True)
    return wheel, source


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The same twice, in two folders."""
    return [built(tmp_path_factory.mktemp(name)) for name in ("here", "elsewhere")]


def test_the_packages_are_reproducible(release):
    """Bit for bit, wherever and whenever they are built."""
    digests = [[hashlib.sha256(p.read_bytes()).hexdigest() for p in pair] for pair in release]
    assert digests[0] == digests[1]


def test_the_wheel_holds_the_package_alone(release):
    """Every file of it, the types, the licence, and no test."""
    with zipfile.ZipFile(release[0][0]) as wheel:
        names = wheel.namelist()
    package = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "reparam").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert package <= set(names)
    assert "reparam/py.typed" in names
    others = [name for name in names if not name.startswith("reparam/")]
    assert all(name.startswith(f"reparam-{reparam.__version__}.dist-info/") for name in others)
    assert any(name.endswith("licenses/LICENSE") for name in others)


def test_the_source_package_can_be_built_and_tested(release):
    """It has the tests, the benchmarks, the pages and the recipe."""
    with tarfile.open(release[0][1]) as source:
        inside = {name.partition("/")[2] for name in source.getnames()}
    assert {"tests/test_release.py", "docs/index.md", *FILES} <= inside


def test_the_version_is_said_once(release):
    """The package's is that of its metadata, and the changelog tells of it first."""
    recipe = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert reparam.__version__ not in recipe
    assert f"reparam-{reparam.__version__}-" in release[0][0].name
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = next(line for line in changes.splitlines() if line.startswith("## "))
    assert reparam.__version__ in first or "Unreleased" in first
