"""One thread: reductions then add up in one order, on every machine."""

import pytest
import torch
from torch.distributions import Distribution

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _arguments_are_validated():
    """`torch.compile` switches the validation of every later distribution off, for good."""
    Distribution.set_default_validate_args(True)
