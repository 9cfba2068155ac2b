"""What hypothesis draws: shapes, dtypes, temperatures, keys, logits and their masks.

Examples come from a fixed seed; `HYPOTHESIS_PROFILE=long` looks for longer, among others.
"""

import os

import torch
from hypothesis import settings
from hypothesis import strategies as st

from acceptance import seeded

settings.register_profile("short", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("long", max_examples=2_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))

DTYPES = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])
BATCHES = st.lists(st.integers(0, 3), max_size=3)
FULL_BATCHES = st.lists(st.integers(1, 3), max_size=3)  # torch's OneHotCategorical takes no empty
TAUS = st.sampled_from([0.0, 1e-40, 1e-6, 1e-3, 0.1, 0.5, 1.0, 3.0, 1e3, 1e30])
SEEDS = st.integers(0, 2**63 - 1)


@st.composite
def logits(draw, square=False, positive_tau=False):
    """A leaf of logits `(*batch, K)`, at most as large as its dtype holds well."""
    dtype, batch, classes = draw(DTYPES), draw(BATCHES), draw(st.integers(1, 6))
    scale = draw(st.sampled_from([0.0, 0.1, 1.0, 30.0, 1e4]))
    shape = [*batch, classes, classes] if square else [*batch, classes]
    values = torch.randn(shape, generator=seeded(draw(st.integers(0, 999)))) * scale
    return values.to(dtype).requires_grad_()


@st.composite
def masks(draw, z):
    """True somewhere in each row of z, or no mask."""
    if not draw(st.booleans()):
        return None
    chosen = torch.rand(z.shape, generator=seeded(draw(st.integers(0, 999)))) < 0.5
    chosen[..., draw(st.integers(0, z.shape[-1] - 1))] = True
    return chosen
