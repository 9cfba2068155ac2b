"""A temperature that a schedule lowers, kept by the module that uses it."""

import torch
from torch import Tensor, nn

from reparam.checks import check_tau
from reparam.schedules import Constant, Schedule


class Temperature(nn.Module):
    """The value of a schedule at the steps taken so far; a number stays as it is.

    `step`, or `anneal` for a whole model, counts a step: forward passes do not, because a step of
    the optimizer may take several. The count and the value are buffers: a checkpoint holds them,
    and a compiled module is not compiled again when they change.

    >>> from reparam.schedules import Linear
    >>> temperature = Temperature(Linear(1.0, 0.5, steps=2))
    >>> temperature.step()
    >>> temperature().item()
    0.75
    """

    steps: Tensor
    tau: Tensor

    def __init__(self, schedule: Schedule | float) -> None:
        super().__init__()
        self.schedule = schedule if isinstance(schedule, Schedule) else Constant(schedule)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("tau", torch.tensor(self.schedule.at(0), dtype=torch.float64))
        check_tau(self.tau)

    def forward(self) -> Tensor:
        return self.tau

    def step(self) -> None:
        """Go on to the next step."""
        self.steps = self.steps + 1
        # A new tensor: a graph that waits for its backward holds the old one.
        self.tau = torch.full_like(self.tau, self.schedule.at(int(self.steps)))

    def extra_repr(self) -> str:
        return f"{self.schedule}, tau={self.tau.item():.4g} after {int(self.steps)} steps"


def anneal(model: nn.Module) -> None:
    """Step every `Temperature` of a model: call it after `optimizer.step()`.

    >>> from reparam.schedules import Linear
    >>> model = nn.Sequential(Temperature(Linear(1.0, 0.5, steps=2)))
    >>> anneal(model)
    >>> model[0]
    Temperature(Linear(start=1.0, end=0.5, steps=2), tau=0.75 after 1 steps)
    """
    for module in model.modules():
        if isinstance(module, Temperature):
            module.step()
