"""Buffers that a forward pass moves, such as a baseline's running mean."""

import torch
from torch import Tensor, nn


class Buffers:
    """What a step leaves in a module's buffers, of a batch that it sees in parts.

    Every part finds them as the step did. Then each moves by the mean of what the parts moved it,
    weighted by their examples: for a moving average of means over examples, that is what the whole
    batch would have done. Those of integers are left as the last part left them.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.before = {name: buffer.clone() for name, buffer in module.named_buffers()}
        self.moving = [name for name, b in self.before.items() if b.is_floating_point()]

    def restore(self) -> None:
        """Set all to what they were before the step."""
        for name, value in self.before.items():
            self.module.get_buffer(name).copy_(value)

    def moves(self) -> list[Tensor]:
        """How far a part moved each, flat, in float64."""
        pairs = ((self.module.get_buffer(name), self.before[name]) for name in self.moving)
        return [(now.double() - before.double()).flatten() for now, before in pairs]

    def move(self, moves: Tensor) -> None:
        """Set all that move to what they were, and this much further; flat, one after the other."""
        sizes = [self.before[name].numel() for name in self.moving]
        for name, by in zip(self.moving, torch.split(moves, sizes), strict=True):
            before = self.before[name]
            self.module.get_buffer(name).copy_(before.double() + by.view(before.shape))
