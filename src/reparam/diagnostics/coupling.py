"""Whether a cost is what estimators take it for: one number for each point, by that point alone."""

import torch

from reparam.diagnostics.state import seed_all, undisturbed
from reparam.diagnostics.trials import Subject
from reparam.estimators import Rloo

NOTE = (
    "the cost of a point depends on other points or batch rows, as in batch normalization while "
    "it trains: no gradient here is unbiased, and none is that of a single truth; measure in "
    "eval() mode, or with another normalization"
)


def coupled(subject: Subject, seed: int) -> bool:
    """Whether the derivative of one cost in another's point is not zero.

    False where the cost has no derivative: nothing is known then.
    """
    with undisturbed(subject):
        seed_all(seed)
        points = Rloo().draw(q := subject.q(), 2).points.detach().requires_grad_()
        first = subject.cost(points).flatten()[0]
        if not first.requires_grad:
            return False
        (slope,) = torch.autograd.grad(first, points, allow_unused=True)
    if slope is None:
        return False
    others = slope.reshape(2 * q.batch_shape.numel(), -1)[1:]
    return bool((others != 0).any())
