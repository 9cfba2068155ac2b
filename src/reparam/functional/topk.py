"""k classes at once: drawn without replacement, and relaxed to k-hot vectors."""

from typing import Any

import torch
from torch import Tensor

from reparam.checks import (
    check_count,
    check_dim,
    check_floating,
    check_tau,
    inspectable,
    working_dtype,
)
from reparam.functional.logits import is_moderate, perturbed, prepared
from reparam.functional.soften import beside_classes, straight_through
from reparam.kernels import topk as kernels
from reparam.kernels.exponentials import Source, source_of
from reparam.noise import Key, Noise


def gumbel_topk(
    logits: Tensor,
    k: int,
    dim: int = -1,
    *,
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    key: Key | None = None,
    validate: bool = True,
) -> tuple[Tensor, Tensor]:
    """Sample k classes without replacement from softmax(logits), by the Gumbel-top-k trick.

    Vieira 2014, "Gumbel-max trick and weighted reservoir sampling"; Kool et al. 2019, "Stochastic
    beams and where to find them", arXiv:1903.06059.

    Takes what `gumbel_softmax` takes; a row with fewer than k allowed classes is an error.

    Returns the indices (int64) in the order they were drawn, and their perturbed logits,
    logits + Gumbel(0, 1), which decrease. Both have size k along `dim`. The perturbed logits come
    in float32 (float64 for float64): in half precision, neighbours would often be equal. Their
    gradient passes to the logits that were drawn.

    >>> logits = torch.tensor([0.0, float("-inf"), 0.0, 0.0])
    >>> indices, perturbed = gumbel_topk(logits, 3)
    >>> indices.sort().values.tolist()
    [0, 2, 3]
    """
    noise = Noise(generator, key=key)
    moderate = mask is None and is_moderate(logits)
    if not moderate:
        logits, _ = prepared(logits, dim, mask, "error", validate)
    _check_k(logits, k, dim, validate and not moderate)
    last = dim in (-1, logits.ndim - 1)
    rows = logits if last else logits.movedim(dim, -1)
    if kernels.serves(rows):
        values, indices = _drawn(rows, k, noise)
    elif moderate and key is None:
        # Small tensors cost what their operations cost to call.
        drawn = torch.empty_like(rows, dtype=torch.float32).exponential_(generator=generator)
        values, indices = (rows - drawn.log_()).topk(k)
    else:
        values, indices = perturbed(rows, 1, noise)[0].topk(k, -1)
        values = values + rows.detach().amax(-1, keepdim=True)
    return (indices, values) if last else (indices.movedim(-1, dim), values.movedim(-1, dim))


def relaxed_topk(
    logits: Tensor,
    k: int,
    tau: float | Tensor = 1.0,
    hard: bool = False,
    dim: int = -1,
    *,
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    key: Key | None = None,
    validate: bool = True,
) -> Tensor:
    """Sample relaxed k-hot vectors: `soft_topk` of logits + G, G i.i.d. Gumbel(0, 1).

    Entries lie in [0, 1] and sum to k. As tau goes to 0, the vector becomes the k-hot one of a
    sample without replacement from softmax(logits) (`gumbel_topk`). The successive softmax of
    Xie & Ermon 2019, "Reparameterizable subset sampling via continuous relaxations",
    arXiv:1901.10517, is another relaxation of it, whose entries can exceed 1.

    Takes what `gumbel_softmax` takes; a row with fewer than k allowed classes is an error.
    hard: return the k-hot of the k largest entries, with the gradient of the soft sample.

    >>> y = relaxed_topk(torch.zeros(5, 10), 3, hard=True)
    >>> y.sum(-1).tolist()
    [3.0, 3.0, 3.0, 3.0, 3.0]
    """
    check_tau(tau)
    logits, _ = prepared(logits, dim, mask, "error", validate)
    _check_k(logits, k, dim, validate)
    rows = logits.movedim(dim, -1)
    noise = Noise(generator, key=key)
    if kernels.serves(rows) and k < rows.shape[-1]:
        y = _relaxed(rows, k, tau, hard, noise)
    else:
        z = perturbed(rows, 1, noise)[0]
        y = _soft_topk(z, k, tau)
        y = straight_through(hard_topk(z, k), y) if hard else y
    return y.movedim(-1, dim).to(logits.dtype)


def soft_topk(z: Tensor, k: int, tau: float | Tensor, dim: int = -1) -> Tensor:
    """y = sigmoid((z - nu) / tau) along `dim`, with the nu for which y sums to k.

    The y in [0, 1]^K of sum k that maximizes <y, z> + tau H(y), H the sum of the entries' binary
    entropies: Amos et al. 2019, "The limited multi-label projection layer", arXiv:1906.08707. Equal
    entries share: the sum is k also where they are the k-th and the next.

    tau: see `gumbel_softmax`. At 0, the k-hot of `hard_topk` with zero gradient.

    >>> soft_topk(torch.tensor([1.0, 0.0, 0.0, -1.0]), 2, tau=0.5)
    tensor([0.8808, 0.5000, 0.5000, 0.1192])
    """
    check_floating("z", z)
    check_tau(tau)
    _check_k(z, k, dim)
    return _soft_topk(z.movedim(dim, -1), k, tau).movedim(-1, dim).to(z.dtype)


def hard_topk(z: Tensor, k: int, dim: int = -1) -> Tensor:
    """k-hot of the k largest entries along `dim` (exactly k, also among equals); no gradient."""
    _check_k(z, k, dim)
    z = z.detach()
    return torch.zeros_like(z).scatter(dim, z.topk(k, dim).indices, 1.0)


def _drawn(rows: Tensor, k: int, noise: Noise) -> tuple[Tensor, Tensor]:
    """`gumbel_topk` in chunks."""
    flat = rows.detach().reshape(-1, rows.shape[-1])
    values, indices = kernels.gumbel_topk(flat, k, source_of(noise, 1, rows))
    shape = (*rows.shape[:-1], k)
    values, indices = values.view(shape), indices.view(shape)
    if rows.requires_grad:
        chosen = rows.gather(-1, indices).to(values.dtype)
        # No gradient, nor -inf + inf, for an excluded class that validate=False let through.
        values = straight_through(values, chosen.masked_fill(chosen == -torch.inf, 0))
    return values, indices


def _relaxed(rows: Tensor, k: int, tau: float | Tensor, hard: bool, noise: Noise) -> Tensor:
    """`relaxed_topk` in chunks."""
    divisor = _divisor(tau, rows)
    clamped = _clamped(divisor).expand(*rows.shape[:-1], 1).reshape(-1, 1)
    source = source_of(noise, 1, rows)
    y, indices = _RelaxedTopk.apply(rows.reshape(-1, rows.shape[-1]), clamped, k, source)  # type: ignore[no-untyped-call]
    y = y.view(rows.shape)
    if hard or _may_be_zero(tau):
        k_hot = torch.zeros_like(y).scatter_(-1, indices.view(*rows.shape[:-1], k), 1.0)
        y = torch.where(divisor == 0, k_hot, y) if _may_be_zero(tau) else y
        y = straight_through(k_hot, y) if hard else y
    relaxed: Tensor = y
    return relaxed


def _soft_topk(z: Tensor, k: int, tau: float | Tensor) -> Tensor:
    """`soft_topk` along the last dimension, in the working dtype."""
    wide = z.to(working_dtype(z.dtype))
    divisor = _divisor(tau, wide)
    # The compiler refuses functions with a forward-mode rule, and has no need of one.
    function = _SoftTopk if torch.compiler.is_compiling() else _ForwardSoftTopk
    y: Tensor = function.apply(wide, _clamped(divisor), k)  # type: ignore[no-untyped-call]
    if _may_be_zero(tau):
        # `where` keeps z in the graph: an annealed loss still runs backward when tau arrives at 0.
        y = torch.where(divisor == 0, hard_topk(wide, k), y)
    return y


def _may_be_zero(tau: float | Tensor) -> bool:
    return isinstance(tau, Tensor) or tau == 0


def _divisor(tau: float | Tensor, rows: Tensor) -> Tensor:
    dtype = working_dtype(rows.dtype)
    return beside_classes(torch.as_tensor(tau, dtype=dtype, device=rows.device), rows, -1)


def _clamped(tau: Tensor) -> Tensor:
    # Below the smallest normal number only equals share, and at infinity an excluded class would
    # be inf / inf.
    limits = torch.finfo(tau.dtype)
    return tau.clamp(limits.tiny, limits.max)


class _SoftTopk(torch.autograd.Function):
    """The derivatives come from y alone, by implicit differentiation of the sum."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, tau: Tensor, k: int) -> Tensor:
        if k == z.shape[-1]:
            return torch.ones_like(z)
        return kernels.soft_topk(z, k, tau)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
        ctx.save_for_backward(output, inputs[1])
        ctx.save_for_forward(output, inputs[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *_gradients(ctx, grad), None


class _ForwardSoftTopk(_SoftTopk):
    """The same, with its forward-mode rule."""

    @staticmethod
    def jvp(ctx: Any, z_t: Tensor | None, tau_t: Tensor | None, _: None) -> Tensor:
        y, tau = ctx.saved_tensors
        rate = torch.zeros_like(y) if z_t is None else z_t
        if tau_t is not None:
            rate = rate - _logit_or_zero(y) * tau_t
        tangent: Tensor = _tangent(y, rate) / tau
        return tangent


class _RelaxedTopk(torch.autograd.Function):
    """y of logits `(N, K)` plus noise, and the indices of its k largest."""

    @staticmethod
    def forward(logits: Tensor, tau: Tensor, k: int, source: Source) -> tuple[Tensor, Tensor]:
        return kernels.relaxed_topk(logits, k, tau, source)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[0], inputs[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled() or ctx.needs_input_grad[1]:
            return *_gradients(ctx, grad), None, None
        y, tau = ctx.saved_tensors
        grad_z = torch.empty_like(y)
        for part in kernels.chunks(y):
            torch.div(_tangent(y[part], grad[part]), tau[part], out=grad_z[part])
        return grad_z, None, None, None


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
    """Of z and of tau."""
    y, tau = ctx.saved_tensors
    grad_z = _tangent(y, grad) / tau
    if not ctx.needs_input_grad[1]:
        return grad_z, None
    # z / tau and logit y differ by a constant per row, and grad_z sums to 0 there.
    return grad_z, -(grad_z * _logit_or_zero(y)).sum_to_size(tau.shape)


def _tangent(y: Tensor, rate: Tensor) -> Tensor:
    """What of a rate `(..., K)` remains, by dy/dz = diag(w) - w w^T / sum w, w = y (1 - y)."""
    weight = y * (1 - y)
    total = weight.sum(-1, keepdim=True)
    mean = (weight * rate).sum(-1, keepdim=True) / torch.where(total > 0, total, 1)
    return weight * (rate - mean)


def _logit_or_zero(y: Tensor) -> Tensor:
    inside = (y > 0) & (y < 1)
    return torch.where(inside, torch.where(inside, y, 0.5).logit(), 0)


def _check_k(logits: Tensor, k: int, dim: int, validate: bool = False) -> None:
    """Refuse a k that is no count, or above the classes; if validated, above those allowed."""
    check_count("k", k)
    check_dim(dim, logits)
    if k > logits.shape[dim]:
        raise ValueError(
            f"k: expected at most the {logits.shape[dim]} classes along dim {dim}, got {k}"
        )
    if not (validate and inspectable() and logits.numel()) or bool(
        logits.detach().amin() > -torch.inf
    ):
        return
    allowed = (logits.detach() > -torch.inf).sum(dim)
    fewer = int((allowed < k).sum())
    if fewer:
        raise ValueError(
            f"k: expected at most as many classes as every row allows, got {k} and {fewer} of "
            f"{allowed.numel()} rows with fewer (one with {int(allowed.min())}); lower k or allow "
            "more"
        )
