"""Two-class or K-class: Bernoulli and categorical seen as one-hot points over classes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, OneHotCategorical

from reparam.families.base import describe
from reparam.families.independent import unwrapped


@dataclass(frozen=True)
class Classes:
    """A discrete q whose points are one-hot over the last dimension.

    logits: `(*batch, *event, K)`; of a Bernoulli, its logit beside 0.
    to_onehot, from_onehot: its points to one-hot ones, and back.
    """

    logits: Tensor
    to_onehot: Callable[[Tensor], Tensor]
    from_onehot: Callable[[Tensor], Tensor]


def classes(q: Distribution) -> Classes:
    """q's classes; Bernoulli, OneHotCategorical, or Independent over one."""
    base = unwrapped(q)
    if isinstance(base, OneHotCategorical):
        return Classes(base.logits, lambda points: points, lambda onehot: onehot)
    if isinstance(base, Bernoulli):
        logits = torch.stack([base.logits, torch.zeros_like(base.logits)], -1)
        return Classes(
            logits,
            lambda points: torch.stack([points, 1 - points], -1),
            lambda onehot: onehot[..., 0],
        )
    raise TypeError(
        "q: expected a OneHotCategorical, a Bernoulli, or Independent over one, got "
        f"{describe(q)}; 'pathwise', 'score' and 'rloo' serve other distributions"
    )


def zero_carrying(x: Tensor) -> Tensor:
    """Zeros with the gradient of x (no gradient where x is infinite).

    Added to the detached argument of a function, it moves the function's derivative onto x.
    """
    finite = torch.where(x.isfinite(), x, 0)
    return finite - finite.detach()
