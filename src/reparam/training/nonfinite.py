"""When a loss is not a number: which tensor was the first, and what usually does that."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

CAUSES = {
    "batch": "the data holds it; check the file",
    "parameters": "an earlier update made it; lower --lr, or look at the last records for a jump",
    "posterior": "the encoder overflowed; lower --lr",
    "points": "the sampling step made it; raise the temperature (--tau), above 0.1",
    "reconstruction": "the decoder overflowed; lower --lr",
    "kl": "the posterior's log-variance or logits ran away; lower --lr or raise --kl-weight",
    "loss": "the terms are finite and their sum is not; lower --kl-weight",
    "gradients": "the backward pass overflowed; raise the temperature (--tau) or lower --lr",
}


def explain(task: nn.Module, trace: Iterator[tuple[str, Tensor]]) -> str:
    """The first non-finite tensor in the order of the forward pass, and its likely cause."""
    for name, tensor in _in_order(task, trace):
        bad = int((~tensor.isfinite()).sum())
        if bad:
            kind = name.split(" ")[0]
            return (
                f"the first non-finite tensor is {name} ({bad} of {tensor.numel()} values); "
                f"likely cause: {CAUSES[kind]}"
            )
    return "every value is finite, but the norm of the gradient overflows; lower --lr"


def _in_order(task: nn.Module, trace: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in task.named_parameters():
        yield f"parameters {name}", parameter.detach()
    with torch.no_grad():
        yield from trace
    for name, parameter in task.named_parameters():
        if parameter.grad is not None:
            yield f"gradients {name}", parameter.grad
