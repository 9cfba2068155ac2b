"""What recipes ask of models made of `reparam.nn`: a step's temperature, and eval mode."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from reparam.nn import Temperature


def anneal_to(step: int, model: nn.Module) -> None:
    """Advance the temperatures to those of a step, which its forward calls first.

    Calling it again changes nothing, so that a forward may be repeated, as `Task.trace` does.
    """
    for module in model.modules():
        while isinstance(module, Temperature) and int(module.steps) < step:
            module.step()


@contextmanager
def settled(model: nn.Module) -> Iterator[None]:
    """The model in eval mode within, and afterwards as it was."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)
