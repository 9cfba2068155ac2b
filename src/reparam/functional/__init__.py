"""Sampling straight from logits: drop-in operations, right in every dtype, tail and mask.

Noise, addition, softmax and argmax run in float32 (float64 for float64) whatever the dtype of the
logits and under autocast; the result is cast once, at the end.
"""

from reparam.functional.gumbel_softmax import gumbel_softmax
from reparam.functional.indices import gumbel_argmax, gumbel_max
from reparam.functional.soften import hard_argmax, soft_argmax, soft_step, straight_through

__all__ = [
    "gumbel_argmax",
    "gumbel_max",
    "gumbel_softmax",
    "hard_argmax",
    "soft_argmax",
    "soft_step",
    "straight_through",
]
