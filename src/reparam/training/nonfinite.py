"""When a loss is not a number: which tensor was the first, and what usually does that."""

from collections.abc import Iterator

import torch
from torch import Tensor

from reparam.training.task import Task

CAUSES = {
    "batch": "the data holds it; check the file",
    "parameters": "an earlier update made it; lower --lr, or look at the last records for a jump",
    "gradients": "the backward pass overflowed; lower --lr",
}
"""By the first word of a tensor's name, for every task; each adds those of its own trace."""


def explain(task: Task, trace: Iterator[tuple[str, Tensor]]) -> str:
    """The first non-finite tensor in the order of the forward pass, and its likely cause."""
    for name, tensor in _in_order(task, trace):
        bad = int((~tensor.isfinite()).sum())
        if bad:
            cause = {**CAUSES, **task.causes}.get(name.split(" ")[0], "it overflowed; lower --lr")
            return (
                f"the first non-finite tensor is {name} ({bad} of {tensor.numel()} values); "
                f"likely cause: {cause}"
            )
    return "every value is finite, but the norm of the gradient overflows; lower --lr"


def _in_order(task: Task, trace: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in task.named_parameters():
        yield f"parameters {name}", parameter.detach()
    with torch.no_grad():
        yield from trace
    for name, parameter in task.named_parameters():
        if parameter.grad is not None:
            yield f"gradients {name}", parameter.grad
