"""Categorical: one-hot points (or indices, where nothing is relaxed), Gumbel noise."""

import torch
from torch import Tensor
from torch.distributions import Categorical, OneHotCategorical

from reparam.checks import check_support, working_dtype
from reparam.families.base import Family, family
from reparam.functional import (
    gumbel_softmax_samples,
    hard_argmax,
    index_samples,
    soft_argmax,
)
from reparam.noise import Noise


class CategoricalFamily(Family):
    """d = onehot(argmax(logits + G)), G ~ Gumbel(0, 1); event shape (K,)."""

    def __init__(self, q: OneHotCategorical) -> None:
        self.logits: Tensor = q.logits

    def perturb(self, n: int, noise: Noise) -> Tensor:
        return self.logits + noise.gumbel(n, self.logits)

    def hard(self, z: Tensor) -> Tensor:
        return hard_argmax(z).to(self.logits.dtype)

    def soft(self, z: Tensor, tau: float | Tensor) -> Tensor:
        return soft_argmax(z, tau).to(self.logits.dtype)

    def sample(self, n: int, noise: Noise) -> Tensor:
        index = index_samples(self.logits.detach(), n, noise).unsqueeze(-1)
        blank = torch.zeros_like(self.logits.detach().expand(n, *self.logits.shape))
        return blank.scatter(-1, index, 1.0)

    def relax(self, n: int, tau: float | Tensor, noise: Noise, *, hard: bool) -> Tensor:
        return gumbel_softmax_samples(self.logits, n, tau, hard, noise)

    def condition(self, trace: Tensor, noise: Noise) -> Tensor:
        # Maddison et al. 2014: the maximum is Gumbel(0) whatever the outcome, and the others are
        # Gumbel(log p_j) truncated at it: -log(E_j / p_j + E_i), Paulus et al. 2021.
        log_p = _log_softmax(self.logits)
        log_e = -noise.gumbel(trace.shape[0], self.logits)
        chosen = trace.detach() > 0.5
        log_e_top = log_e.masked_fill(~chosen, 0).sum(-1, keepdim=True)
        # An impossible class stays at -inf; its 0 keeps the gradient of logaddexp finite.
        impossible = log_p == -torch.inf
        total = torch.logsumexp(self.logits.to(log_p.dtype), -1, keepdim=True)
        top = total - log_e_top
        others = total - torch.logaddexp(log_e - log_p.masked_fill(impossible, 0), log_e_top)
        # Rounding may lift another to the top, where the first of them would win.
        below = torch.nextafter(top.detach(), top.new_tensor(-torch.inf))
        z = torch.where(chosen, top, torch.where(others < top, others, below))
        return z.masked_fill(impossible, -torch.inf)

    def log_prob(self, points: Tensor) -> Tensor:
        return _picked(_log_softmax(self.logits), points.max(-1).indices)

    def support(self) -> Tensor:
        check_support(self.logits.shape[-1])
        return torch.eye(self.logits.shape[-1]).to(self.logits)


class IndexFamily(Family):
    """d = argmax(logits + G) as an int64 index; event shape (). It has no relaxation."""

    def __init__(self, q: Categorical) -> None:
        self.logits: Tensor = q.logits

    def perturb(self, n: int, noise: Noise) -> Tensor:
        return self.logits + noise.gumbel(n, self.logits)

    def hard(self, z: Tensor) -> Tensor:
        return z.detach().argmax(-1)

    def sample(self, n: int, noise: Noise) -> Tensor:
        return index_samples(self.logits.detach(), n, noise)

    def soft(self, z: Tensor, tau: float | Tensor) -> Tensor:
        raise _no_relaxation()

    def condition(self, trace: Tensor, noise: Noise) -> Tensor:
        raise _no_relaxation()

    def log_prob(self, points: Tensor) -> Tensor:
        return _picked(_log_softmax(self.logits), points)

    def support(self) -> Tensor:
        check_support(self.logits.shape[-1])
        return torch.arange(self.logits.shape[-1], device=self.logits.device)


def _log_softmax(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits, -1, dtype=working_dtype(logits.dtype))


def _picked(log_p: Tensor, index: Tensor) -> Tensor:
    """Entries `(*points, *batch)` of log_p `(*batch, K)`; not one copy of it is made per point."""
    batch = index.shape[index.ndim - (log_p.ndim - 1) :]
    log_p = log_p.expand(*batch, log_p.shape[-1])
    every = index.reshape(-1, *batch).movedim(0, -1)
    return log_p.gather(-1, every).movedim(-1, 0).reshape(index.shape)


def _no_relaxation() -> TypeError:
    return TypeError(
        "q: expected one-hot points to relax, got an index Categorical; "
        "use OneHotCategorical(logits=q.logits)"
    )


family.register(OneHotCategorical, CategoricalFamily)
family.register(Categorical, IndexFamily)
