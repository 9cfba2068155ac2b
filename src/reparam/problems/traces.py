"""Every trace of a discrete q, and uniforms that lead to it."""

import itertools

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution

from reparam.distributions import PlackettLuce, Subset
from reparam.families import family, support, unwrapped
from reparam.noise import Noise


def noise_event(q: Distribution) -> torch.Size:
    """The shape of the noise that decides one row of a discrete q."""
    return family(q).logits.shape[len(q.batch_shape) :]


def traces(q: Distribution) -> Tensor:
    """Every trace, `(S, *batch, ...)`: orders of sets and rankings, else outcomes."""
    if not isinstance(q, Subset | PlackettLuce):
        return support(q)
    orders = torch.tensor(list(itertools.permutations(range(q.logits.shape[-1]), q.k)))
    return orders.reshape(-1, *[1] * len(q.batch_shape), q.k).expand(-1, *q.batch_shape, q.k)


def uniforms_giving(q: Distribution, given: Tensor, v: Tensor) -> Tensor:
    """Uniforms that make q's family draw the traces `given`, and v, within each, its noise."""
    f = family(q)
    with torch.no_grad():
        z = f.condition(given, Noise(uniforms=v)) - f.logits
        u = torch.sigmoid(z) if isinstance(unwrapped(q), Bernoulli) else torch.exp(-torch.exp(-z))
        u = u.clamp(1e-300, 1 - 2**-53)
        if not torch.equal(f.trace(f.perturb(len(given), Noise(uniforms=u))), given):
            raise AssertionError("conditional noise that does not give the trace it is given")
    return u
