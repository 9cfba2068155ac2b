"""Sampling straight from logits: drop-in operations, right in every dtype, tail and mask.

Noise, addition, softmax and argmax run in float32 (float64 for float64) whatever the dtype of the
logits and under autocast; the result is cast once, at the end.
"""

from reparam.functional.gumbel_softmax import gumbel_softmax, gumbel_softmax_samples
from reparam.functional.hard_concrete import (
    hard_concrete,
    hard_concrete_eval,
    hard_concrete_l0,
)
from reparam.functional.indices import gumbel_max, index_samples, sample_indices
from reparam.functional.matching import matching
from reparam.functional.sinkhorn import gumbel_sinkhorn, sinkhorn
from reparam.functional.soften import hard_argmax, soft_argmax, soft_step, straight_through
from reparam.functional.sorting import neural_sort, soft_sort
from reparam.functional.topk import gumbel_topk, hard_topk, relaxed_topk, soft_topk

__all__ = [
    "gumbel_max",
    "gumbel_sinkhorn",
    "gumbel_softmax",
    "gumbel_softmax_samples",
    "gumbel_topk",
    "hard_argmax",
    "hard_concrete",
    "hard_concrete_eval",
    "hard_concrete_l0",
    "hard_topk",
    "index_samples",
    "matching",
    "neural_sort",
    "relaxed_topk",
    "sample_indices",
    "sinkhorn",
    "soft_argmax",
    "soft_sort",
    "soft_step",
    "soft_topk",
    "straight_through",
]
