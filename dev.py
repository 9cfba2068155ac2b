"""The project's own commands; each sets up what it needs in `.venv` by itself.

    python3 dev.py demo     train a discrete VAE on real digits, and leave a report
    python3 dev.py check    lint, types, the wheel, and every test against the wheel
    python3 dev.py site     build the documentation into build/site
    python3 dev.py cover    the share of lines that the tests reach, and those that none does

Needs Python >= 3.11 with pip, and git. Nothing is installed outside `.venv`. With another torch,
in an environment of its own: `REPARAM_TORCH=2.10.0 python3 dev.py check`.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
TORCH = os.environ.get("REPARAM_TORCH")
VENV = ROOT / (f".venv-{TORCH}" if TORCH else ".venv")
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
WHEEL = ROOT / "build" / "wheel"
TESTS = (PYTHON, "-m", "pytest", "-n", "2", "--dist", "loadfile")


def demo() -> None:
    """Train the discrete VAE on digits."""
    setup()
    run(
        BIN / "reparam",
        *("train", "discrete-vae", "--data", "digits", "--binarize", "threshold"),
        *("--epochs", "300", *sys.argv[2:]),
    )


def check() -> None:
    """Everything that must hold before a change is shared."""
    setup()
    run(BIN / "ruff", "check", ".")
    run(BIN / "ruff", "format", "--check", ".")
    if not TORCH:  # whose annotations differ
        run(BIN / "mypy")
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    run(PYTHON, "-m", "build", "--wheel", "--no-isolation", "--outdir", ROOT / "build" / "dist")
    wheel = next((ROOT / "build" / "dist").glob("*.whl"))
    run(PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--target", WHEEL, wheel)
    # The unpacked wheel comes before the editable install: the tests see what users will get.
    run(*TESTS, *sys.argv[2:], env={"PYTHONPATH": str(WHEEL)})


def site() -> None:
    """The documentation, with everything on its pages run."""
    setup()
    # Threads of torch wait for each other where cores are shared: minutes become an hour.
    run(PYTHON, "-m", "zensical", "build", "--clean", "--strict", env={"OMP_NUM_THREADS": "1"})
    pages = ROOT / "build" / "site"
    print(f"open {pages / 'index.html'}; to search it as well, serve it:")
    print(f"python3 -m http.server --bind 127.0.0.1 --directory {pages}")


def cover() -> None:
    """Every test, counting lines."""
    setup()
    shown = ("term-missing:skip-covered", "html:build/coverage")
    run(*TESTS, "--cov=reparam", *(f"--cov-report={kind}" for kind in shown), *sys.argv[2:])


def setup() -> None:
    """Create `.venv` with the project and its tools, unless it is up to date."""
    versions = (ROOT / "constraints.txt").read_text()
    if TORCH:
        versions = re.sub(r"(?m)^torch==.*$", f"torch=={TORCH}", versions)
    recipe = (ROOT / "pyproject.toml").read_text() + versions
    stamp, wanted = VENV / "recipe", hashlib.sha256(recipe.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"setting up {VENV.name} (once; a minute or two)", flush=True)
    pip = create()
    constraints = VENV / "constraints.txt"
    constraints.write_text(versions)
    # torch first and by itself: what follows must find the pinned build in place.
    run(*pip, "install", "--quiet", "-r", constraints)
    run(*pip, "install", "--quiet", "-c", constraints, "-e", f"{ROOT}[dev]")
    stamp.write_text(wanted)


def create() -> list[object]:
    """Make the environment; the pip command that installs into it."""
    try:
        venv.create(VENV, with_pip=True, clear=True)
    except (subprocess.CalledProcessError, SystemExit):
        # Some systems ship Python without ensurepip: their own pip can install from outside.
        venv.create(VENV, with_pip=False, clear=True)
        return [sys.executable, "-m", "pip", "--python", PYTHON]
    return [PYTHON, "-m", "pip"]


def run(*command: object, env: dict[str, str] | None = None) -> None:
    """Run a command here; stop with its exit status if it fails."""
    result = subprocess.run(
        [str(part) for part in command], cwd=ROOT, env={**os.environ, **(env or {})}, check=False
    )
    if result.returncode:
        raise SystemExit(result.returncode)


COMMANDS = {"demo": demo, "check": check, "site": site, "cover": cover}

if __name__ == "__main__":
    if sys.version_info < (3, 11):
        raise SystemExit(f"dev.py: expected Python >= 3.11, got {sys.version.split()[0]}")
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        raise SystemExit(__doc__)
    try:
        COMMANDS[sys.argv[1]]()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
