"""Mixture-of-experts routing."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, OneHotCategorical
from torch.nn.functional import linear

from reparam.checks import check_count, no_autocast, working_dtype
from reparam.core import Draw, Estimator
from reparam.distributions import Subset
from reparam.functional import gumbel_topk
from reparam.functional.logits import checked_mask
from reparam.nn.annealed import AnnealedEstimator
from reparam.nn.routing import Routing, unchanged
from reparam.noise import Key
from reparam.schedules import Schedule


class TopKRouter(nn.Module):
    """Send each token to k experts: drawn from softmax(x W^T) in training, the best in eval mode.

    An output is sum_j weights_j expert_j(x), the weights being the chosen experts' probabilities
    (Fedus et al. 2021, "Switch Transformers", arXiv:2101.03961, for k = 1). In training experts are
    drawn without replacement, by Gumbel noise (Kool et al. 2019, arXiv:1903.06059). Logits are
    computed in float32 also under autocast, as Fedus et al. do.

    dim: features of a token. experts, k: how many there are, and how many a token goes to.
    estimator: of the gradient of the choice, or its spec, applied to `OneHotCategorical` or, for
        k > 1, `distributions.Subset`. A pathwise one, such as straight-through Gumbel-Softmax,
        lends it to the weights; any other, such as `Score`, to `Routing.combine(costs)`. By default
        the choice has none, and W learns from the weights alone.
    tau: a schedule of the estimator's temperature, advanced by `anneal`; by default it stays.

    Takes x `(*batch, dim)` and `mask` `(*batch)`, False for padding, and returns a `Routing`. key:
    an integer, or an int64 tensor of x's leading dimensions.

    >>> routing = TopKRouter(dim=16, experts=4, k=2)(torch.randn(3, 7, 16))
    >>> routing.indices.shape, routing.dense().shape
    (torch.Size([3, 7, 2]), torch.Size([3, 7, 4]))
    """

    def __init__(
        self,
        dim: int,
        experts: int,
        k: int = 1,
        estimator: Estimator | str | None = None,
        tau: Schedule | float | None = None,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, count in {"dim": dim, "experts": experts, "k": k}.items():
            check_count(name, count)
        if k > experts:
            raise ValueError(f"k: expected at most the {experts} experts, got {k}")
        if tau is not None and estimator is None:
            raise ValueError("tau: expected an estimator= with a temperature, got none")
        self.k = k
        self.linear = nn.Linear(dim, experts, bias=False, device=device, dtype=dtype)
        self.estimator = None if estimator is None else AnnealedEstimator(estimator, tau)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        key: Key | None = None,
    ) -> Routing:
        if mask is not None:
            mask = checked_mask(mask, "the tokens", x[..., 0]).expand(x.shape[:-1])
            x = x.masked_fill(~mask.unsqueeze(-1), 0)  # padding may hold anything, NaN included
        logits = self._logits(x)
        weights = logits.softmax(-1)
        combine: Callable[[Tensor], Tensor] = unchanged
        if not self.training:
            indices = logits.topk(self.k, -1).indices
        elif self.estimator is None:
            indices, _ = gumbel_topk(logits.detach(), self.k, generator=generator, key=key)
        else:
            draw = self.estimator().draw(self._law(logits), generator=generator, key=key)
            points, combine = _single(draw, self.estimator.name)
            weights, indices = weights * points, points.detach().topk(self.k, -1).indices
        weights = weights.gather(-1, indices).to(x.dtype)
        if mask is not None:
            weights = weights.masked_fill(~mask.unsqueeze(-1), 0)
        return Routing(indices, weights, logits, mask, combine)

    def extra_repr(self) -> str:
        return f"k={self.k}"

    def _logits(self, x: Tensor) -> Tensor:
        dtype = working_dtype(x.dtype)
        with no_autocast(x):
            return linear(x.to(dtype), self.linear.weight.to(dtype))

    def _law(self, logits: Tensor) -> Distribution:
        if self.k == 1:
            return OneHotCategorical(logits=logits, validate_args=False)
        return Subset(self.k, logits, validate_args=False)


def _single(draw: Draw, name: str) -> Draw:
    """The draw without its dimension of points."""
    points, combine = draw
    if len(points) != 1:
        raise TypeError(
            f"estimator: expected one that evaluates the cost at one point, got {name}, which does "
            f"at {len(points)}; 'score' with a baseline serves any cost"
        )
    return Draw(points[0], lambda costs: combine(costs.unsqueeze(0)))
