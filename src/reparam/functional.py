"""Sampling straight from logits: drop-in operations, right in every dtype, tail and mask.

Noise, addition, softmax and argmax run in float32 (float64 for float64) whatever the dtype of the
logits and under autocast; the result is cast once, at the end.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from reparam.checks import check_floating, check_tau, inspectable, working_dtype
from reparam.kernels import gumbel_softmax as kernels
from reparam.noise import Noise

Empty = Literal["error", "zero"]

SINGLE = (torch.float32, torch.float16, torch.bfloat16)
LARGEST_PLAIN = 100.0  # beside logits of this size, noise keeps its precision
LEAST_PLAIN_TAU = 1e-30  # quotients by it stay finite
SMALLEST_CHUNKED = 4_000  # elements, below which one call costs more than it saves


def gumbel_softmax(
    logits: Tensor,
    tau: float | Tensor = 1.0,
    hard: bool = False,
    dim: int = -1,
    *,
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    empty: Empty = "error",
    validate: bool = True,
) -> Tensor:
    """Sample softmax((logits + G) / tau), G i.i.d. Gumbel(0, 1) (Jang et al. 2017, equation 2).

    logits: unnormalized log-probabilities, classes along `dim`; -inf excludes a class.
    tau: temperature >= 0: a float, or a tensor that broadcasts against the shape of `logits`
        without `dim`, and may be learned. 0 gives the exact one-hot, whose gradient is zero.
    hard: return the one-hot of the largest entry, with the gradient of the soft sample.
    mask: True where a class is allowed; broadcasts against `logits`.
    empty: what to do about a row without an allowed class: `"error"`, or `"zero"` for a row of
        zeros with zero gradient.
    validate: refuse NaN and +inf logits, and empty rows. Values cannot be examined under
        `torch.compile` and `torch.func`: there, nothing is refused.

    >>> logits = torch.tensor([2.0, 1.0, 0.0])
    >>> y = gumbel_softmax(logits, tau=0.5, hard=True, generator=torch.Generator().manual_seed(0))
    >>> y.sum().item()
    1.0
    """
    check_tau(tau)
    _check_empty(empty)
    if mask is None and not isinstance(tau, Tensor) and _is_plain(logits, tau, dim):
        return _plain_sample(logits, tau, hard, dim, generator)
    logits, excluded = _prepared(logits, dim, mask, empty, validate)
    perturbed = _perturbed(logits, dim, generator)
    y = soft_argmax(perturbed, tau, dim)
    if hard:
        y = straight_through(hard_argmax(perturbed, dim), y)
    if excluded is not None:
        y = y.masked_fill(excluded, 0)
    return y.to(logits.dtype)


def _check_empty(empty: str) -> None:
    if empty not in ("error", "zero"):
        raise ValueError(f"empty: expected 'error' or 'zero', got {empty!r}")


def _is_plain(logits: Tensor, tau: float, dim: int) -> bool:
    """Whether nothing needs care: moderate logits, so that neither checks nor shifts are due."""
    if not (inspectable() and logits.dtype in SINGLE and logits.numel() and logits.ndim):
        return False
    if not LEAST_PLAIN_TAU <= tau < torch.inf or not -logits.ndim <= dim < logits.ndim:
        return False
    low, high = torch.aminmax(logits.detach())
    return float(low) > -LARGEST_PLAIN and float(high) < LARGEST_PLAIN


def _plain_sample(
    logits: Tensor, tau: float, hard: bool, dim: int, generator: torch.Generator | None
) -> Tensor:
    """`gumbel_softmax` where nothing needs care, by the fastest way for the size."""
    x = logits.float()
    if x.numel() < SMALLEST_CHUNKED or x.device.type != "cpu":
        noise = torch.empty_like(x, memory_format=torch.contiguous_format)
        noise.exponential_(generator=generator)
        y = torch.softmax((x - noise.log_()) / tau, dim)
        y = straight_through(hard_argmax(y, dim), y) if hard else y
        return y.to(logits.dtype)
    rows = x.movedim(dim, -1)
    y = kernels.gumbel_softmax(rows.reshape(-1, rows.shape[-1]), tau, generator)
    y = kernels.hard_forward(y) if hard else y
    return y.reshape(rows.shape).movedim(-1, dim).to(logits.dtype)


def gumbel_max(
    logits: Tensor,
    dim: int = -1,
    *,
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
    validate: bool = True,
) -> Tensor:
    """Sample class indices (int64) from softmax(logits) along `dim`, by the Gumbel-max trick.

    Takes what `gumbel_softmax` takes; a row without an allowed class is always an error.

    >>> gumbel_max(torch.tensor([[0.0, float("-inf")], [float("-inf"), 0.0]])).tolist()
    [0, 1]
    """
    logits, _ = _prepared(logits.detach(), dim, mask, "error", validate)
    return _perturbed(logits, dim, generator).argmax(dim)


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard`, the gradient of `soft`; any shape, the same for both.

    >>> soft = torch.tensor([0.3, 0.7], requires_grad=True)
    >>> straight_through(torch.tensor([0.0, 1.0]), soft).tolist()
    [0.0, 1.0]
    """
    if hard.shape != soft.shape:
        raise ValueError(
            f"straight_through: expected tensors of one shape, got hard {tuple(hard.shape)} and "
            f"soft {tuple(soft.shape)}"
        )
    # Added to `hard` as an exact zero: (hard + soft) - soft would leave a rounding error.
    return hard.detach() + (soft - soft.detach())


def hard_argmax(z: Tensor, dim: int = -1) -> Tensor:
    """One-hot of the largest entry along `dim` (the first, among equals); no gradient."""
    z = z.detach()
    return torch.zeros_like(z).scatter(dim, z.argmax(dim, keepdim=True), 1.0)


def gumbel_argmax(logits: Tensor, n: int, noise: Noise) -> Tensor:
    """n samples of class indices: logits `(*, K)` -> `(n, *)`, int64."""
    return (logits + noise.gumbel(n, logits)).argmax(-1)


def soft_argmax(z: Tensor, tau: float | Tensor, dim: int = -1) -> Tensor:
    """softmax(z / tau) along `dim`, finite for every tau >= 0, also in its gradients.

    tau: see `gumbel_softmax`. At 0, the one-hot argmax with zero gradient.
    """
    wide = z.to(working_dtype(z.dtype))
    divisor = _beside_classes(torch.as_tensor(tau, dtype=wide.dtype, device=z.device), z, dim)
    y = _tempered_softmax(wide, divisor, dim)
    if isinstance(tau, Tensor) or tau == 0:
        # `where` keeps z in the graph: an annealed loss still runs backward when tau arrives at 0.
        y = torch.where(divisor == 0, hard_argmax(wide, dim), y)
    return y.to(z.dtype)


def soft_step(z: Tensor, tau: float | Tensor) -> Tensor:
    """sigmoid(z / tau), the two-class `soft_argmax` of [z, 0]; tau broadcasts against z."""
    if isinstance(tau, Tensor):
        tau = tau.expand(z.shape)
    pair = torch.stack([z, torch.zeros_like(z)], -1)
    return soft_argmax(pair, tau)[..., 0]


def _perturbed(logits: Tensor, dim: int, generator: torch.Generator | None) -> Tensor:
    """Logits plus Gumbel noise, in the noise's dtype, up to a constant per row."""
    noise = Noise(generator).gumbel(1, logits)[0]
    logits = logits.to(noise.dtype)
    # The largest becomes 0 first: beside logits of 1e8 the noise would be lost to rounding.
    return logits - logits.detach().amax(dim, keepdim=True) + noise


def _tempered_softmax(z: Tensor, tau: Tensor, dim: int) -> Tensor:
    # Below the smallest normal number the soft sample is the one-hot already, and at infinity an
    # excluded class would be inf / inf.
    limits = torch.finfo(z.dtype)
    tau = tau.clamp(limits.tiny, limits.max)
    # The compiler refuses functions with a forward-mode rule, and has no need of one.
    function = _TemperedSoftmax if torch.compiler.is_compiling() else _ForwardTemperedSoftmax
    y: Tensor = function.apply(z, tau, dim)  # type: ignore[no-untyped-call]
    return y


class _TemperedSoftmax(torch.autograd.Function):
    """softmax(z / tau) from y alone: no quotient by tau is formed that could overflow to NaN."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, tau: Tensor, dim: int) -> Tensor:
        return torch.softmax((z - z.amax(dim, keepdim=True)) / tau, dim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
        _, tau, ctx.dim = inputs
        ctx.save_for_backward(output, tau)
        ctx.save_for_forward(output, tau)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        y, tau = ctx.saved_tensors
        grad_z = y * (grad - (grad * y).sum(ctx.dim, keepdim=True)) / tau
        grad_tau = None
        if ctx.needs_input_grad[1]:
            # (z - max)/tau and log y differ by a constant per row, and grad_z sums to 0 there.
            grad_tau = -(grad_z * _log_or_zero(y)).sum_to_size(tau.shape)
        return grad_z, grad_tau, None


class _ForwardTemperedSoftmax(_TemperedSoftmax):
    """The same, with its forward-mode rule."""

    @staticmethod
    def jvp(ctx: Any, z_t: Tensor | None, tau_t: Tensor | None, _: None) -> Tensor:
        y, tau = ctx.saved_tensors
        rate = torch.zeros_like(y) if z_t is None else z_t
        if tau_t is not None:
            rate = rate - _log_or_zero(y) * tau_t
        tangent: Tensor = y * (rate - (rate * y).sum(ctx.dim, keepdim=True)) / tau
        return tangent


def _log_or_zero(y: Tensor) -> Tensor:
    positive = y > 0
    return torch.where(positive, torch.where(positive, y, 1).log(), 0)


def _beside_classes(tau: Tensor, z: Tensor, dim: int) -> Tensor:
    """Give tau a class dimension of size 1, once it is seen to fit the batch shape."""
    batch = list(z.shape)
    del batch[dim]
    if tau.ndim == 0:
        return tau
    if not _broadcasts(tau.shape, batch):
        raise ValueError(
            f"tau: expected a shape that broadcasts to the batch shape {tuple(batch)} (the classes "
            f"share one temperature), got {tuple(tau.shape)}"
        )
    return tau.expand(batch).unsqueeze(dim)


def _broadcasts(shape: Sequence[int], to: Sequence[int]) -> bool:
    """Whether `shape` broadcasts to exactly `to`."""
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(size in (1, wanted) for size, wanted in pairs)


def _prepared(
    logits: Tensor, dim: int, mask: Tensor | None, empty: Empty, validate: bool
) -> tuple[Tensor, Tensor | None]:
    """Checked logits with -inf where masked, and which rows have nothing allowed, if zeroed."""
    check_floating("logits", logits)
    if logits.ndim == 0 or logits.shape[dim] == 0:
        raise ValueError(
            f"logits: expected at least one class along dim {dim}, got shape {tuple(logits.shape)}"
        )
    validate = validate and inspectable()
    if validate:
        _check_values(logits)
    if mask is not None:
        logits = logits.masked_fill(~_checked_mask(mask, logits), -torch.inf)
    if empty == "error":
        if validate:
            _check_rows(logits, dim)
        return logits, None
    nothing = (logits == -torch.inf).all(dim, keepdim=True)
    # An empty row samples from zeros, which keeps its arithmetic finite, and is zeroed afterwards.
    return logits.masked_fill(nothing, 0), nothing


def _checked_mask(mask: Tensor, logits: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        raise TypeError(
            f"mask: expected a boolean tensor (True = allowed), got {mask.dtype}; use mask.bool()"
        )
    if not _broadcasts(mask.shape, logits.shape):
        raise ValueError(
            f"mask: expected a shape that broadcasts to the logits' {tuple(logits.shape)}, "
            f"got {tuple(mask.shape)}"
        )
    return mask


def _check_values(logits: Tensor) -> None:
    # NaN and +inf survive a maximum, so one reduction clears the common case.
    if logits.numel() == 0 or bool(logits.detach().amax() < torch.inf):
        return
    nan, inf = int(logits.isnan().sum()), int((logits == torch.inf).sum())
    raise ValueError(
        f"logits: expected finite values or -inf, got {nan} NaN and {inf} +inf among "
        f"{logits.numel()} of shape {tuple(logits.shape)}; look upstream for an overflow"
    )


def _check_rows(logits: Tensor, dim: int) -> None:
    if logits.numel() == 0:
        return
    nothing = logits.detach().amax(dim) == -torch.inf
    if bool(nothing.any()):
        raise ValueError(
            f"logits: expected an allowed class in every row, got {int(nothing.sum())} of "
            f"{nothing.numel()} rows with none (all masked or -inf); allow one, or for "
            "gumbel_softmax pass empty='zero'"
        )
