"""One thread, and a random order of the tests that `TEST_ORDER=number` repeats.

With one thread, reductions add up in one order on every machine.
"""

import hashlib
import os
import secrets

import torch

torch.set_num_threads(1)


def pytest_configure():
    """Choose the order; the workers of xdist inherit it."""
    os.environ.setdefault("TEST_ORDER", str(secrets.randbelow(1_000_000)))


def pytest_report_header():
    """What to give to have the order again."""
    return f"TEST_ORDER={os.environ['TEST_ORDER']}"


def pytest_collection_modifyitems(items):
    """Shuffle the files, and the tests in each; which of two comes first, no third one changes."""
    items.sort(key=lambda item: (_place(item.nodeid.partition("::")[0]), _place(item.nodeid)))


def _place(name):
    return hashlib.sha256(f"{os.environ['TEST_ORDER']} {name}".encode()).digest()
