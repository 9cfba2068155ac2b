"""Permutations by the Gumbel-Matching distribution."""

from itertools import permutations
from math import factorial
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.types import _size

from reparam.checks import check_floating, check_support
from reparam.distributions.plackett_luce import OneHotRows
from reparam.functional.matching import matching
from reparam.noise import Noise


class Permutation(Distribution):
    """The permutation matrix P with the largest <P, logits + G>, G i.i.d. Gumbel(0, 1).

    Mena et al. 2018, "Learning latent permutations with Gumbel-Sinkhorn networks",
    arXiv:1802.08665: the Gumbel-Matching distribution. Points `(n, n)`. Samples are solutions of an
    assignment problem each, by SciPy: `pip install 'reparam[structured]'`.

    logits: `(*batch, n, n)`; -inf forbids a pair, and a permutation must remain.

    Its probabilities are not known in closed form. `PlackettLuce` has them, of permutations that
    sort.

    >>> q = Permutation(torch.tensor([[9.0, 0.0, 0.0], [0.0, 0.0, 99.0], [0.0, 99.0, 0.0]]))
    >>> q.sample().argmax(-1)
    tensor([0, 2, 1])
    """

    arg_constraints = {  # noqa: RUF012
        "logits": constraints.independent(constraints.real, 2)  # type: ignore[no-untyped-call]
    }
    support = OneHotRows()
    has_enumerate_support = True

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        check_floating("logits", logits)
        if logits.ndim < 2 or logits.shape[-1] != logits.shape[-2]:
            raise ValueError(
                f"logits: expected square matrices (*batch, n, n), got shape {tuple(logits.shape)}"
            )
        self.logits = logits
        super().__init__(logits.shape[:-2], logits.shape[-2:], validate_args=validate_args)

    def expand(self, batch_shape: _size, _instance: Any = None) -> "Permutation":
        new: Permutation = self._get_checked_instance(Permutation, _instance)  # type: ignore[no-untyped-call]
        batch = torch.Size(batch_shape)
        new.logits = self.logits.expand(*batch, *self.event_shape)
        Distribution.__init__(new, batch, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(
        self,
        sample_shape: _size = torch.Size(),  # noqa: B008
        noise: Noise | None = None,
    ) -> Tensor:
        shape = self._extended_shape(sample_shape)
        gumbel = (noise or Noise()).gumbel(torch.Size(sample_shape).numel(), self.logits)
        return matching(self.logits.detach() + gumbel).to(self.logits.dtype).reshape(shape)

    def log_prob(self, value: Tensor) -> NoReturn:
        raise NotImplementedError(
            "log_prob: the probabilities of Permutation are not known in closed form; 'score', "
            "'rloo', 'rebar' and 'relax' differentiate the density of its noise instead, and "
            "PlackettLuce is a distribution of permutations that has them"
        )

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Every permutation, `(n!, *batch, n, n)`, in lexicographic order."""
        n = self.event_shape[-1]
        check_support(factorial(n))
        points = torch.eye(n)[torch.tensor(list(permutations(range(n))))].to(self.logits)
        points = points.reshape(-1, *[1] * len(self.batch_shape), n, n)
        return points.expand(-1, *self.batch_shape, n, n) if expand else points
