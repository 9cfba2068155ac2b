"""Importing the library is cheap and changes nothing."""

import subprocess
import sys

import pytest

import reparam

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
        "kl": {
            # Divergences between our own types are ours to add; no other may change.
            pair: rule
            for pair, rule in torch.distributions.kl._KL_REGISTRY.items()
            if not any(cls.__module__.startswith("reparam") for cls in pair)
        },
        "torch": {name: id(value) for name, value in vars(torch.Tensor).items()},
        "functional": {name: id(value) for name, value in vars(torch.nn.functional).items()},
        "distributions": {name: id(value) for name, value in vars(torch.distributions).items()},
    }

before = state()
import reparam
names = [getattr(reparam, name) for name in reparam.__all__]
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


def test_every_public_name_works_on_torch_alone():
    """With all else made impossible to import, numpy for torch itself included."""
    run(
        f"sys.modules |= dict.fromkeys({HEAVY})\nimport reparam\n"
        "names = [getattr(reparam, name) for name in reparam.__all__]\n"
        "assert len(names) > 10"
    )


def test_importing_alone_does_not_wait_for_torch():
    """The command line prints its help at once; names are imported at their first use."""
    run("import reparam\nassert 'torch' not in sys.modules\nassert 'Rloo' in dir(reparam)")


def test_a_name_that_is_not_public_is_an_attribute_error():
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'Rlo'"):
        _ = reparam.Rlo
