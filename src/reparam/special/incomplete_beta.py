"""The Beta distribution in log space: z = logit X, X ~ Beta(a, b).

Its density f(z) = x^a (1 - x)^b / B(a, b) is log-concave for all a and b. By quadrature over the
left tail relative to f at z, where X is below (a + 1/2) / (a + b + 1); right of that, 1 - X ~
Beta(b, a) is on the left. The slow decay of a small a is taken out by F(a, b) = F(a + 1, b) +
f(a, b) / a.
"""

import torch
from torch import Tensor
from torch.distributions.utils import broadcast_all
from torch.nn.functional import logsigmoid

from reparam.special.implicit import at_fixed_quantile, in_chunks, invert
from reparam.special.tails import FINE, Rule, rule_for, tail_integrals

_STEPS = 10  # 9 give 1e-11 for a and b from 1e-6 to 1e6 and u from 1e-300 to 1 - 1e-16
_SHIFT = 8
_STIRLING = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)


def beta_slopes(z: Tensor, a: Tensor, b: Tensor, rule: Rule = FINE) -> tuple[Tensor, Tensor]:
    """dz/da > 0 and dz/db < 0 at a fixed quantile; in float64, differentiable; broadcasts.

    Relative error below 1e-11 for a and b from 1e-3 to 1e5, below 1e-9 from 1e-6. By the COARSE
    rule, below 1e-6 from 1e-3, 1e-7 from 1e-2.

    >>> z, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> [round(slope.item(), 12) for slope in beta_slopes(z, one, one)]  # 2 log 2, as F = x^a
    [1.38629436112, -1.38629436112]
    """
    z, a, b = broadcast_all(z.double(), a.double(), b.double())
    low = z < _split(a, b)
    sign = torch.where(low, 1.0, -1.0).to(z)
    near, far = _left_slopes(sign * z, torch.where(low, a, b), torch.where(low, b, a), rule)
    return torch.where(low, near, -far), torch.where(low, far, -near)


def with_beta_gradient(
    z: Tensor, a: Tensor, b: Tensor, digits: torch.dtype = torch.float64
) -> Tensor:
    """z as it is, a function of a and b (broadcast to it) at a fixed quantile; in float64.

    The gradient has the digits of that dtype.
    """
    rule = rule_for(digits)
    return at_fixed_quantile(z, in_chunks(lambda z, a, b: beta_slopes(z, a, b, rule)), a, b)


def beta_logit_quantile(u: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """z with F(z; a, b) = u in (0, 1); in float64, without a gradient; broadcasts.

    >>> z = beta_logit_quantile(torch.tensor(0.25), torch.tensor(2.0), torch.tensor(1.0))
    >>> round(torch.sigmoid(z).item(), 14)
    0.5
    """
    with torch.no_grad():
        return in_chunks(_quantile)(*broadcast_all(u.double(), a.double(), b.double()))[0]


def _quantile(u: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor]:
    split = _split(a, b)
    low = u < _left_tail(split, a, b)[0].exp()
    target = torch.where(low, u.log(), torch.log1p(-u))
    a, b, split = torch.where(low, a, b), torch.where(low, b, a), torch.where(low, split, -split)
    # x^a / (a B) is F where x is small.
    power_law = (target + a.log() + _log_beta(a, b)) / a
    z = torch.where(a < 1, power_law, split)
    z = invert(lambda z: _left_tail(z, a, b), z, split, target, _STEPS)
    return (torch.where(low, z, -z),)


def digamma_difference(x: Tensor, d: Tensor) -> Tensor:
    """digamma(x + d) - digamma(x) for x > 0 and d >= 0, without cancellation, in float64.

    >>> tiny = torch.tensor(2.0**-60, dtype=torch.float64)
    >>> round((digamma_difference(torch.ones_like(tiny), tiny) / tiny).item(), 14)  # pi^2 / 6
    1.64493406684823
    """
    total = torch.zeros_like(x * d)
    for _ in range(_SHIFT):
        total = total + d / (x + d).mul_(x)
        x = x + 1
    u, v = 1 / x, 1 / (x + d)
    gap = d * u * v
    # Stirling's series is u^2 S(u^2); Horner's rule, for its value and its divided difference.
    u2, v2 = u * u, v * v
    value, divided = torch.zeros_like(gap), torch.zeros_like(gap)
    for c in reversed(_STIRLING):
        divided = torch.addcmul(value, divided, v2)
        value = value * u2 + c
    divided = torch.addcmul(value, divided, v2)
    return total + torch.log1p(d * u) + gap / 2 + gap * (u + v) * divided


def _split(a: Tensor, b: Tensor) -> Tensor:
    return torch.log((a + 0.5) / (b + 0.5))


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def _left_slopes(z: Tensor, a: Tensor, b: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
    # dF/da = the integral of (log x - digamma(a) + digamma(a + b)) f, and with 1 - x and b for
    # dF/db; these are the two brackets at (a + 1, b), the first with its sign changed.
    n = a + b
    rise_a, rise_b = digamma_difference(torch.stack([a + 1, b]), torch.stack([b, a]))
    by_a = -logsigmoid(z) - rise_a
    by_b = logsigmoid(-z) + rise_b + 1 / n
    mass, drop, gain = _integrals(z, a, b, rule)
    shift = torch.sigmoid(z) * n
    over_a, over_b = by_a * mass + drop, by_b * mass + gain
    return (by_a + 1 / n + shift * over_a) / a, (1 / n - by_b - shift * over_b) / a


def _left_tail(z: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """log F and F / f."""
    ratio = (1 + torch.sigmoid(z) * (a + b) * _integrals(z, a, b, FINE)[0]) / a
    log_f = a * logsigmoid(z) + b * logsigmoid(-z) - _log_beta(a, b)
    return log_f + ratio.log(), ratio


def _integrals(z: Tensor, a: Tensor, b: Tensor, rule: Rule) -> tuple[Tensor, Tensor, Tensor]:
    """The integrals of f(z - r) / f(z), times 1, drop and gain, over r > 0, for Beta(a + 1, b).

    log x is `drop` less at z - r, and log(1 - x) is `gain` more: drop + gain = r.
    """
    # Of x and 1 - x, the smaller one is precise. Near 0, r is counted downwards.
    near = (z < 0).to(z)
    far = 1 - near
    sign, small = far - near, torch.sigmoid(-z.abs())
    n, rate = a + b + 1, far * b + near * (a + 1)

    def density(r: Tensor) -> tuple[Tensor, Tensor]:
        change = torch.expm1(r).mul_(small).log1p_()
        height = (rate * r).sub_(n * change).exp_()
        return height, change * height

    reach = sign * _reach(z.detach(), a.detach(), b.detach(), rule.nats)
    (mass, first), (change, _) = tail_integrals(density, reach, rule)
    return sign * mass, sign * change - near * sign * first, far * first - sign * change


def _reach(z: Tensor, a: Tensor, b: Tensor, nats: float) -> Tensor:
    """An r, not much too large, at which f(z - r) / f(z) < e^-nats, for Beta(a + 1, b)."""
    x, y, n = torch.sigmoid(z), torch.sigmoid(-z), a + b + 1
    # The second derivative of -log f is n x y at z, and falls no faster than e^-r.
    slope = (a + 1) * y - b * x
    left, most = nats - 2 * slope, slope + n * x * y
    r = (left + torch.sqrt(left * left + 8 * most * nats)) / (2 * most)
    # f(z - r) / f(z) = e^(b r) / (1 + y (e^r - 1))^n: one iteration, and one step of Newton's.
    r = torch.minimum(r, torch.log1p(torch.expm1((nats + b * r) / n) / y))
    fallen = n * torch.log1p(y * torch.expm1(r)) - b * r
    return r - (fallen - nats) / (a + 1 - n * torch.sigmoid(z - r))
