"""Relaxed permutations: doubly stochastic matrices from scores, and samples of them."""

import torch
from torch import Tensor

from reparam.checks import check_count, check_floating, check_tau, inspectable, working_dtype
from reparam.functional.logits import broadcasts, perturbed
from reparam.kernels import sinkhorn as kernels
from reparam.noise import Key, Noise

LEAST_TAU = torch.finfo(torch.float32).tiny  # quotients by it stay finite in float64


def sinkhorn(
    log_alpha: Tensor, tau: float | Tensor = 1.0, n_iters: int = 20, tol: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Balance exp(log_alpha / tau): S(log_alpha / tau) of Mena et al. 2018, equation 2.

    Sinkhorn and Knopp 1967 (doi:10.2140/pjm.1967.21.343); as a layer, Adams and Zemel 2011
    (arXiv:1106.1925); Mena et al. 2018, "Learning latent permutations with Gumbel-Sinkhorn
    networks" (arXiv:1802.08665). As tau falls to 0 and n_iters grows, the result tends to the
    permutation with the largest sum of scores.

    Returns doubly stochastic matrices `(*batch, n, n)` and their residuals `(*batch)`. Rows are
    normalized first and columns last: columns sum to 1, and the residual is the largest
    |row sum - 1|, without a gradient and in at least float32. If it is too large, take more
    iterations. The gradient is that of the iterations taken, not of their limit.

    log_alpha: scores `(*batch, n, n)`, n^2 for each matrix; -inf forbids a pair. Where the pairs
        that are allowed hold no permutation, no doubly stochastic matrix exists, and the residual
        does not fall.
    tau: temperature > 0: a float, or a tensor that broadcasts against the batch shape, and may be
        learned.
    n_iters: normalizations of rows and then of columns, at most.
    tol: stop when the residual of every matrix of the batch is at most this. A result may then
        vary with its batch, within tol; at 0 iterations are left out only where they would
        change the last digits. `torch.compile` and `torch.func` take n_iters always.

    >>> p, residual = sinkhorn(torch.tensor([[2.0, 0.0], [0.0, 0.0]]))
    >>> round(p[0, 0].item(), 4)  # sigmoid((2 + 0 - 0 - 0) / 2)
    0.7311
    """
    _check_arguments(log_alpha, tau, n_iters, tol)
    return _balanced(log_alpha, tau, n_iters, tol)


def gumbel_sinkhorn(
    log_alpha: Tensor,
    tau: float | Tensor = 1.0,
    n_iters: int = 20,
    tol: float = 0.0,
    *,
    generator: torch.Generator | None = None,
    key: Key | None = None,
) -> tuple[Tensor, Tensor]:
    """Sample S((log_alpha + G) / tau), G i.i.d. Gumbel(0, 1) (Mena et al. 2018, section 4).

    Takes and returns what `sinkhorn` does.

    generator, key: where the randomness comes from, instead of the global generator. key: an
        integer, or an int64 tensor of the batch shape, so that each matrix depends on its own key
        alone.

    >>> p, residual = gumbel_sinkhorn(torch.zeros(5, 3, 3), tau=0.5, key=0)
    >>> p.shape, residual.shape
    (torch.Size([5, 3, 3]), torch.Size([5]))
    """
    _check_arguments(log_alpha, tau, n_iters, tol)
    noise = Noise(generator, key=key)
    noisy = perturbed(log_alpha, 1, noise)[0] if log_alpha.numel() else log_alpha
    balanced, residual = _balanced(noisy, tau, n_iters, tol)
    return balanced.to(log_alpha.dtype), residual


def _balanced(
    log_alpha: Tensor, tau: float | Tensor, n_iters: int, tol: float
) -> tuple[Tensor, Tensor]:
    batch, dtype = log_alpha.shape[:-2], working_dtype(log_alpha.dtype)
    if log_alpha.numel() == 0:
        return log_alpha.clone(), log_alpha.new_zeros(batch, dtype=dtype)
    x = log_alpha.to(dtype)
    divisor = torch.as_tensor(tau, dtype=dtype, device=x.device).clamp(min=LEAST_TAU)
    divisor = divisor.expand(batch)[..., None, None]
    if inspectable():
        one = (-1, *x.shape[-2:])
        balanced, residual = kernels.sinkhorn(
            x.reshape(one), divisor.reshape(-1, 1, 1), n_iters, tol
        )
        balanced, residual = balanced.view(x.shape), residual.view(batch)
    else:
        balanced = kernels.plain(x, divisor, n_iters)
        residual = (balanced.detach().sum(-1) - 1).abs().amax(-1).to(dtype)
    return balanced.to(log_alpha.dtype), residual


def _check_arguments(log_alpha: Tensor, tau: float | Tensor, n_iters: int, tol: float) -> None:
    check_floating("log_alpha", log_alpha)
    shape = log_alpha.shape
    if log_alpha.ndim < 2 or shape[-1] != shape[-2]:
        raise ValueError(
            f"log_alpha: expected square matrices (*batch, n, n), got shape {tuple(shape)}"
        )
    _check_positive(tau, shape[:-2])
    check_count("n_iters", n_iters)
    if not tol >= 0:
        raise ValueError(f"tol: expected a tolerance >= 0 (0 never stops early), got {tol}")
    if inspectable() and log_alpha.numel():
        _check_scores(log_alpha.detach())


def _check_positive(tau: float | Tensor, batch: torch.Size) -> None:
    check_tau(tau)
    if isinstance(tau, Tensor) and not broadcasts(tau.shape, batch):
        raise ValueError(
            f"tau: expected a shape that broadcasts to the batch shape {tuple(batch)} (a matrix "
            f"has one temperature), got {tuple(tau.shape)}"
        )
    zero = inspectable() and bool((tau == 0).any()) if isinstance(tau, Tensor) else tau == 0
    if zero:
        raise ValueError(
            f"tau: expected a temperature > 0, got {tau}; its limit, the hard permutation, comes "
            "from scipy.optimize.linear_sum_assignment(log_alpha, maximize=True)"
        )


def _check_scores(x: Tensor) -> None:
    low, high = torch.aminmax(x)
    if bool(low > -torch.inf) and bool(high < torch.inf):
        return
    nan, inf = int(x.isnan().sum()), int((x == torch.inf).sum())
    if nan or inf:
        raise ValueError(
            f"log_alpha: expected finite values or -inf, got {nan} NaN and {inf} +inf among "
            f"{x.numel()} of shape {tuple(x.shape)}; look upstream for an overflow"
        )
    rows, columns = (int((x.amax(dim) == -torch.inf).sum()) for dim in (-1, -2))
    if rows or columns:
        raise ValueError(
            f"log_alpha: expected an allowed entry in every row and column, got {rows} row(s) and "
            f"{columns} column(s) of -inf alone; allow a permutation in each matrix"
        )
