"""Baselines: what a score-function estimator subtracts from the cost. Modules passed as fields.

A baseline maps detached costs `(P, *batch)` and q to a value that broadcasts against the costs and
does not depend on the points that it will be subtracted from: that is what keeps the gradient
unbiased. If the value depends on parameters, they are trained to predict the cost.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from reparam.checks import inspectable

__all__ = ["Baseline", "Constant", "Learned", "MovingAverage"]


class Baseline(nn.Module, ABC):
    """The interface."""

    @abstractmethod
    def forward(self, costs: Tensor, q: Distribution) -> Tensor:
        """Costs `(P, *batch)` -> a baseline that broadcasts against them."""


class Constant(Baseline):
    """The same number always."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, costs: Tensor, q: Distribution) -> Tensor:
        return costs.new_tensor(self.value)


class MovingAverage(Baseline):
    """Exponential moving average of the mean cost of *earlier* draws; 0 before the first.

    decay: weight of the past, in [0, 1). The average is corrected for its start from 0 as Adam
    corrects its moments. Its state is in buffers, so that checkpoints and several processes
    share it; in eval mode it does not move.
    """

    total: Tensor
    weight: Tensor

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay: expected a number in [0, 1), got {decay}")
        self.decay = decay
        self.register_buffer("total", torch.zeros((), dtype=torch.float64))
        self.register_buffer("weight", torch.zeros((), dtype=torch.float64))

    def forward(self, costs: Tensor, q: Distribution) -> Tensor:
        before = self.total / self.weight.clamp(min=torch.finfo(torch.float64).tiny)
        if self.training and costs.numel():
            self.total = torch.lerp(costs.mean().to(self.total), self.total, self.decay)
            self.weight = torch.lerp(torch.ones_like(self.weight), self.weight, self.decay)
        return before.to(costs)


class Learned(Baseline):
    """A network's prediction of the cost, trained by squared error alongside the model.

    network: maps `(*batch, features)` to `(*batch, 1)` or `(*batch)`.
    inputs: what the network sees of q, `(*batch, features)`; by default q's mean, flattened over
        the event. Pass `lambda q: x` to condition on something else, such as the input image.
    The gradient reaches the network alone: neither q nor the cost is disturbed.
    """

    def __init__(
        self, network: nn.Module, inputs: Callable[[Distribution], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.inputs = inputs or _flat_mean

    def forward(self, costs: Tensor, q: Distribution) -> Tensor:
        prediction: Tensor = self.network(self.inputs(q).detach())
        if prediction.shape == (*q.batch_shape, 1):
            prediction = prediction.squeeze(-1)
        if prediction.shape != q.batch_shape:
            raise ValueError(
                f"baseline: expected the network to return {tuple(q.batch_shape)} or "
                f"{(*q.batch_shape, 1)}, one value per batch row, got {tuple(prediction.shape)}"
            )
        return prediction


def _flat_mean(q: Distribution) -> Tensor:
    mean: Tensor = q.mean
    if inspectable() and not bool(mean.isfinite().all()):
        raise ValueError(
            f"baseline: expected q with a finite mean to predict from, got {type(q).__name__}; "
            "pass Learned(network, inputs=...) what the network should see"
        )
    return mean.reshape(*q.batch_shape, -1)


BASELINES: dict[str, Callable[[], Baseline]] = {"moving-average": MovingAverage}
"""The baselines that a spec string can name."""
