"""The Beta distribution in log space: z = logit X, X ~ Beta(a, b).

Its density f(z) = x^a (1 - x)^b / B(a, b) is log-concave for all a and b. By quadrature over the
left tail, where X is below (a + 1/2) / (a + b + 1); right of that, 1 - X ~ Beta(b, a) is on the
left. The slow decay of a small a is taken out by F(a, b) = F(a + 1, b) + f(a, b) / a.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions.utils import broadcast_all
from torch.nn.functional import logsigmoid

from reparam.special.implicit import ENOUGH, at_fixed_quantile, invert
from reparam.special.quadrature import integral

_STEPS = 10  # 9 give 1e-11 for a and b from 1e-6 to 1e6 and u from 1e-300 to 1 - 1e-16
_SHIFT = 8
_STIRLING = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)


def beta_slopes(z: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """dz/da > 0 and dz/db < 0 at a fixed quantile; in float64, differentiable; broadcasts.

    Relative error below 1e-10 for a and b from 1e-3 to 1e5, below 1e-9 from 1e-6.

    >>> z, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> [round(slope.item(), 12) for slope in beta_slopes(z, one, one)]  # 2 log 2, as F = x^a
    [1.38629436112, -1.38629436112]
    """
    z, a, b = broadcast_all(z.double(), a.double(), b.double())
    low = z < _split(a, b)
    near, far = _left_slopes(
        torch.where(low, z, -z), torch.where(low, a, b), torch.where(low, b, a)
    )
    return torch.where(low, near, -far), torch.where(low, far, -near)


def with_beta_gradient(z: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """z as it is, a function of a and b (broadcast to it) at a fixed quantile; in float64."""
    return at_fixed_quantile(z, beta_slopes, a.double().expand_as(z), b.double().expand_as(z))


def beta_logit_quantile(u: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """z with F(z; a, b) = u in (0, 1); in float64, without a gradient; broadcasts.

    >>> z = beta_logit_quantile(torch.tensor(0.25), torch.tensor(2.0), torch.tensor(1.0))
    >>> round(torch.sigmoid(z).item(), 14)
    0.5
    """
    u, a, b = broadcast_all(*(t.detach().double() for t in (u, a, b)))
    split = _split(a, b)
    low = u < _left_tail(split, a, b)[0].exp()
    target = torch.where(low, u.log(), torch.log1p(-u))
    a, b, split = torch.where(low, a, b), torch.where(low, b, a), torch.where(low, split, -split)
    # x^a / (a B) is F where x is small.
    power_law = (target + a.log() + _log_beta(a, b)) / a
    z = torch.where(a < 1, power_law, split)
    z = invert(lambda z: _left_tail(z, a, b), z, split, target, _STEPS)
    return torch.where(low, z, -z)


def digamma_difference(x: Tensor, d: Tensor) -> Tensor:
    """digamma(x + d) - digamma(x) for x > 0 and d >= 0, without cancellation, in float64.

    >>> tiny = torch.tensor(2.0**-60, dtype=torch.float64)
    >>> round((digamma_difference(torch.ones_like(tiny), tiny) / tiny).item(), 14)  # pi^2 / 6
    1.64493406684823
    """
    total = torch.zeros_like(x * d)
    for _ in range(_SHIFT):
        total = total + d / (x * (x + d))
        x = x + 1
    u, v = 1 / x, 1 / (x + d)
    gap = d * u * v
    # Stirling's series is u^2 S(u^2); Horner's rule, for its value and its divided difference.
    value, divided = torch.zeros_like(gap), torch.zeros_like(gap)
    for c in reversed(_STIRLING):
        divided = divided * v * v + value
        value = value * u * u + c
    divided = divided * v * v + value
    return total + torch.log1p(d * u) + gap / 2 + gap * (u + v) * divided


def _split(a: Tensor, b: Tensor) -> Tensor:
    return torch.log((a + 0.5) / (b + 0.5))


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def _left_slopes(z: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    # dF/da = the integral of (log x - digamma(a) + digamma(a + b)) f, and with 1 - x and b for
    # dF/db; these are the two brackets at (a + 1, b), the first with its sign changed.
    n = a + b
    by_a = -logsigmoid(z) - digamma_difference(a + 1, b)
    by_b = logsigmoid(-z) + digamma_difference(b, a) + 1 / n
    over_a, over_b = _integral(z, a, b, lambda drop, gain: torch.stack([by_a + drop, by_b + gain]))
    shift = torch.sigmoid(z) * n
    return (by_a + 1 / n + shift * over_a) / a, (1 / n - by_b - shift * over_b) / a


def _left_tail(z: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """log F and F / f."""
    ratio = _integral(z, a, b, lambda drop, gain: torch.ones_like(drop))
    ratio = (1 + torch.sigmoid(z) * (a + b) * ratio) / a
    log_f = a * logsigmoid(z) + b * logsigmoid(-z) - _log_beta(a, b)
    return log_f + ratio.log(), ratio


def _integral(
    z: Tensor, a: Tensor, b: Tensor, weight: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """The integral of weight(drop, gain) f(z - r) / f(z) over r > 0, for Beta(a + 1, b).

    log x is `drop` less at z - r, and log(1 - x) is `gain` more: drop + gain = r.
    """
    # Of x and 1 - x, the smaller one is precise.
    near = (z < 0).to(z)
    far = 1 - near
    sign, small = far - near, torch.sigmoid(-z.abs())
    n, decay = a + b + 1, far * b - near * (a + 1)

    def integrand(r: Tensor) -> Tensor:
        change = torch.log1p(small * torch.expm1(sign * r))
        density = torch.exp(decay * r - n * change)
        return weight(change + near * r, far * r - change) * density

    reach = _reach(z.detach(), a.detach(), b.detach())
    return integral(integrand, torch.zeros_like(reach), reach)


def _reach(z: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """An r, not much too large, at which f(z - r) / f(z) < e^-ENOUGH, for Beta(a + 1, b)."""
    x, y, n = torch.sigmoid(z), torch.sigmoid(-z), a + b + 1
    # The second derivative of -log f is n x y at z, and falls no faster than e^-r.
    slope = (a + 1) * y - b * x
    left, most = ENOUGH - 2 * slope, slope + n * x * y
    r = (left + torch.sqrt(left * left + 8 * most * ENOUGH)) / (2 * most)
    # f(z - r) / f(z) = e^(b r) / (1 + y (e^r - 1))^n: one iteration, and one step of Newton's.
    r = torch.minimum(r, torch.log1p(torch.expm1((ENOUGH + b * r) / n) / y))
    fallen = n * torch.log1p(y * torch.expm1(r)) - b * r
    return r - (fallen - ENOUGH) / (a + 1 - n * torch.sigmoid(z - r))
