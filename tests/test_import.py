"""Importing the library is cheap and changes nothing."""

import subprocess
import sys

HEAVY = [
    "cyclopts",
    "matplotlib",
    "numpy",
    "plotly",
    "pooch",
    "rich",
    "scipy",
    "sklearn",
    "tensorboard",
]

GLOBALS = """
import random, warnings
import torch
from torch.distributions import Distribution

def state():
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "rng": torch.get_rng_state().tolist(),
        "random": random.getstate(),
        "validation": Distribution._validate_args,
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "printing": str(torch.tensor([1 / 3])),
        "warnings": list(warnings.filters),
        "kl": dict(torch.distributions.kl._KL_REGISTRY),
        "torch": {name: id(value) for name, value in vars(torch.Tensor).items()},
        "functional": {name: id(value) for name, value in vars(torch.nn.functional).items()},
        "distributions": {name: id(value) for name, value in vars(torch.distributions).items()},
    }

before = state()
import reparam
after = state()
changed = [name for name in before if before[name] != after[name]]
assert not changed, changed
"""


def run(program: str) -> str:
    """Run a fresh interpreter, which inherits this one's path."""
    done = subprocess.run(  # noqa: S603 (this interpreter, our own program)
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{program}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_changes_no_global_state():
    """No dtype, generator, validation default, thread count, registry or patched function."""
    run(GLOBALS)


def test_importing_loads_nothing_heavier_than_torch():
    """Whatever torch itself does not load, the import does not load either."""
    loaded = run(
        "import torch, torch.distributions\nbefore = set(sys.modules)\nimport reparam\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    assert not set(loaded.split()) & set(HEAVY)


def test_every_public_name_exists():
    """What __all__ promises is there."""
    import reparam  # noqa: PLC0415

    for name in reparam.__all__:
        assert hasattr(reparam, name), name
