"""Vital signs of a sampling step: what a training step's tensors say, as plain numbers by name.

Every function is pure. Names are those of the `vitals` records of a run and of `Monitor.observe`.
"""

from collections.abc import Mapping
from math import log
from types import MappingProxyType

import torch
from torch import Tensor

Signs = Mapping[str, float]

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "loss": "what is minimised; it must be finite",
        "max_prob": "mean largest entry of a relaxed sample, from 1/K to 1",
        "entropy": "mean entropy of a relaxed sample over log K, from 0 to 1",
        "sharpness": "log K minus that entropy, in nats: 0 where every class gets the same",
        "posterior_entropy": "mean entropy of the distribution itself over log K",
        "gradient_rms": "root mean square of an example's gradient in the logits",
        "zero_share": "share of exactly zero entries in that gradient",
        "cosine": "cosine of the gradients of two independent draws",
        "kl": "KL(q || p) in nats per example, all units together",
        "dead": "share of units with a mean KL below 0.01 nats",
        "perplexity": "share of a unit's codes that a batch uses: exp of their entropy, over K",
        "information": "mutual information of examples and codes over the KL",
        "reconstruction": "-log p(x|z) at hard samples, in nats per example",
        "shuffle": "what it costs to give every example another's code, in nats per example",
        "gap": "reconstruction at hard samples minus that at relaxed ones, in nats per example",
        "off_one_hot": "largest distance of a hard sample from the nearest one-hot",
        "pullback_cosine": "cosine of a hard sample's gradient and its relaxation's",
        "pullback_ratio": "length of a hard sample's gradient over its relaxation's",
    }
)
"""Every sign, with what it means; besides them, `NAME_moves` of a schedule."""

DEAD = 0.01
"""Nats below which a unit says nothing."""


def of_relaxed(y: Tensor) -> dict[str, float]:
    """Of relaxed samples `(*batch, K)`, entries in [0, 1].

    >>> of_relaxed(torch.full((3, 4), 0.25))["entropy"]
    1.0
    """
    y = y.detach().double()
    nats = torch.special.entr(y).sum(-1).mean().item()
    most = log(y.shape[-1])
    return {
        "max_prob": y.amax(-1).mean().item(),
        "entropy": nats / most,
        "sharpness": most - nats,
    }


def of_codes(logits: Tensor, kl: Tensor | None = None) -> dict[str, float]:
    """Of categorical logits `(B, *units, K)`, unnormalised, and the units' KL `(B, units)` if any.

    Mutual information is H(mean of q) - mean of H(q) over the batch, unit by unit: it misses what
    units say together, and is at most log B.
    """
    log_q = torch.log_softmax(logits.detach().double(), -1)
    log_q = log_q.reshape(len(logits), -1, logits.shape[-1])
    q = log_q.exp()
    nats = torch.special.entr(q).sum(-1).mean(0)
    marginal = torch.special.entr(q.mean(0)).sum(-1)
    classes = q.shape[-1]
    signs = {
        "posterior_entropy": nats.mean().item() / log(classes),
        "perplexity": marginal.exp().mean().item() / classes,
    }
    if kl is not None:
        paid = kl.detach().double().mean(0).sum()
        signs["information"] = ((marginal - nats).sum() / paid.clamp(min=DEAD)).item()
    return signs


def of_kl(kl: Tensor) -> dict[str, float]:
    """Of each unit's KL in nats, `(B, units)`."""
    units = kl.detach().double().mean(0)
    return {"kl": units.sum().item(), "dead": (units < DEAD).double().mean().item()}


def of_gradients(first: Tensor, second: Tensor) -> dict[str, float]:
    """Of the gradients of two independent draws, in the same logits, for the same examples.

    Each row is the gradient of its own example's cost, not of the batch's mean.
    """
    pair = torch.stack([first, second]).detach().double()
    return {
        "gradient_rms": pair.square().mean().sqrt().item(),
        "zero_share": (pair == 0).double().mean().item(),
        "cosine": _cosine(*pair),
    }


def of_straight_through(hard: Tensor, soft: Tensor, logits: Tensor) -> dict[str, float]:
    """Of hard samples `(*batch, K)` and the relaxed ones they came from, both functions of logits.

    Both are pulled back along the same direction, which no symmetry of the simplex annuls.
    """
    direction = torch.linspace(-1, 1, hard.shape[-1], dtype=hard.dtype, device=hard.device).exp()
    pulled = [_pullback(value, logits, direction.expand_as(value)) for value in (hard, soft)]
    length = pulled[1].norm().clamp(min=torch.finfo(torch.float64).tiny)
    return {
        "off_one_hot": off_one_hot(hard),
        "pullback_cosine": _cosine(*pulled),
        "pullback_ratio": (pulled[0].norm() / length).item(),
    }


def off_one_hot(y: Tensor) -> float:
    """The largest distance of an entry of `(*batch, K)` from the one-hot of its row's maximum."""
    nearest = torch.zeros_like(y).scatter_(-1, y.argmax(-1, keepdim=True), 1.0)
    return (y - nearest).detach().abs().amax().item()


def _pullback(value: Tensor, logits: Tensor, direction: Tensor) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(logits, dtype=torch.float64)
    (pulled,) = torch.autograd.grad(
        value, logits, direction, retain_graph=True, materialize_grads=True
    )
    return pulled.double()


def _cosine(first: Tensor, second: Tensor) -> float:
    return torch.cosine_similarity(first.flatten(), second.flatten(), 0, 1e-300).item()
