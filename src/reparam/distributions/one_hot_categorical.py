"""The one-hot categorical distribution, where classes may be excluded."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution
from torch.distributions import OneHotCategorical as Torchs
from torch.distributions.kl import register_kl
from torch.types import _size

from reparam.checks import working_dtype
from reparam.distributions.relaxed import masked_parameter
from reparam.distributions.relaxed_one_hot_categorical import with_classes


class OneHotCategorical(Torchs):
    """torch's `OneHotCategorical`, with a mask, and finite gradients where classes are excluded.

    A logit of -inf or a probability of 0 excludes a class. torch's `kl_divergence` of two that
    exclude the same class is right and its gradient NaN; where one of the two is of this type, the
    value and the gradient are those of the classes that are left. Entropies and divergences are
    computed in float32 (float64 for float64), and are left so. An index `Categorical` has those of
    `OneHotCategorical(logits=q.logits)`.

    probs, logits: `(*batch, K)`, exactly one.
    mask: True where a class is allowed; excludes the others. Broadcasts against probs or logits.

    >>> from torch.distributions import kl_divergence
    >>> mask = torch.tensor([True, False, True])
    >>> q = OneHotCategorical(logits=torch.tensor([0.0, 5.0, 0.0]), mask=mask)
    >>> kl_divergence(q, OneHotCategorical(probs=torch.tensor([0.5, 0.0, 0.5]))).item()
    0.0
    """

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
        *,
        mask: Tensor | None = None,
    ) -> None:
        name, value = masked_parameter(
            with_classes("probs", probs), with_classes("logits", logits), mask
        )
        if name == "probs":  # torch would make logits near -16 of zeros
            none = value == 0
            value = value.masked_fill(none, 1).log().masked_fill(none, -torch.inf)
        # torch's own constructor validates logits in spite of validate_args=False.
        self._categorical = Categorical(logits=value, validate_args=validate_args)
        Distribution.__init__(self, value.shape[:-1], value.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> "OneHotCategorical":
        new = self._get_checked_instance(OneHotCategorical, _instance)  # type: ignore[no-untyped-call]
        expanded: OneHotCategorical = super().expand(batch_shape, new)  # type: ignore[no-untyped-call]
        return expanded

    def entropy(self) -> Tensor:
        log_p, excluded = _log_probs(self)
        return -(log_p.exp() * log_p.masked_fill(excluded, 0)).sum(-1)


@register_kl(Torchs, OneHotCategorical)  # type: ignore[no-untyped-call, untyped-decorator]
@register_kl(OneHotCategorical, Torchs)  # type: ignore[no-untyped-call, untyped-decorator]
@register_kl(OneHotCategorical, OneHotCategorical)  # type: ignore[no-untyped-call, untyped-decorator]
def _divergence(q: Torchs, p: Torchs) -> Tensor:
    """KL(q || p) `(*batch)`; infinite, without a gradient, where p excludes a class and q does not.

    0 log 0 is 0, and so is its derivative in what is excluded.
    """
    (log_q, not_q), (log_p, not_p) = _log_probs(q), _log_probs(p)
    gap = log_q.masked_fill(not_q, 0) - log_p.masked_fill(not_p, 0)
    return (log_q.exp() * gap).sum(-1).masked_fill((not_p & ~not_q).any(-1), torch.inf)


def _log_probs(q: Torchs) -> tuple[Tensor, Tensor]:
    """Log-probabilities `(*batch, K)`, and which classes are excluded."""
    # Of probabilities that are 0, torch's own type keeps the logit of the smallest that are not.
    excluded = q.logits == -torch.inf if isinstance(q, OneHotCategorical) else q.probs == 0
    logits = q.logits.to(working_dtype(q.logits.dtype)).masked_fill(excluded, -torch.inf)
    return torch.log_softmax(logits, -1), excluded
