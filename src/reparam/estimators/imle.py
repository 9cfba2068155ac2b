"""I-MLE: finite differences of the solution, in the direction of the cost's gradient."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution

from reparam.core import Draw, Estimator, average
from reparam.families import describe, family
from reparam.noise import Noise

LEAST = 1e-30  # quotients by it stay finite, and so do their products with what it came from


class AdaptiveLambda(nn.Module):
    """lambda = alpha |z| / |g| for each point, alpha such that gradients are as sparse as wanted.

    Minervini et al. 2023, "Adaptive Perturbation-Based Gradient Estimation for Discrete Latent
    Variable Models", arXiv:2209.04862. Of a point's perturbed parameters z and the cost's gradient
    g, |.| are the Euclidean norms: costs and parameters may be of any size. (The paper has the norm
    of theta, which may start at 0.)

    nonzero: the wanted number of coordinates, on average over the points, in which the gradient
        differs from 0. A small lambda gives less bias, and gradients that are mostly 0.
    step: what alpha moves by in every backward pass, up where the gradients are too sparse, else
        down. decay: weight of the past in the average that this is judged by, in [0, 1).
    alpha: where it starts.

    Its state is in buffers, so that checkpoints have it; in eval mode it does not move.
    """

    alpha: Tensor
    average: Tensor

    def __init__(
        self, nonzero: float = 1.0, step: float = 1e-3, decay: float = 0.9, alpha: float = 1.0
    ) -> None:
        super().__init__()
        if not (nonzero > 0 and step > 0 and alpha > 0 and 0 <= decay < 1):
            raise ValueError(
                "expected nonzero, step and alpha > 0 and decay in [0, 1), got "
                f"{nonzero=}, {step=}, {alpha=}, {decay=}"
            )
        self.nonzero, self.step, self.decay = nonzero, step, decay
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float64))
        self.register_buffer("average", torch.tensor(nonzero, dtype=torch.float64))

    def forward(self, z: Tensor, g: Tensor) -> Tensor:
        """Lambda of every point: z and g `(*points, coordinates)` -> `(*points, 1)`."""
        size, slope = (x.square().sum(-1, keepdim=True).sqrt() for x in (z, g))
        return (self.alpha.to(z) * size / slope.clamp(min=LEAST)).clamp(min=LEAST)

    def observe(self, gradient: Tensor) -> None:
        """Move alpha, after a gradient `(*points, coordinates)`."""
        if not self.training or gradient.numel() == 0:
            return
        seen = gradient.count_nonzero(-1).to(self.average).mean()
        self.average = torch.lerp(seen, self.average, self.decay)
        change = torch.where(self.average < self.nonzero, self.step, -self.step)
        self.alpha = (self.alpha + change).clamp(min=self.step)


@dataclass(frozen=True)
class Imle(Estimator):
    """(MAP(theta + eps) - MAP(theta + eps - lambda df/dy)) / lambda, eps the noise of the sample.

    Niepert et al. 2021, "Implicit MLE: Backpropagating Through Discrete Exponential Family
    Distributions", arXiv:2106.01798.

    How the solution changes when the parameters are moved against the cost's gradient: one more
    solution for each sample, in the backward pass. Serves `PerturbAndMap`, and the distributions
    that are one: OneHotCategorical, Bernoulli, Independent over any of them. One evaluation of a
    differentiable cost, at a vertex. For linear costs the bias vanishes with lambda, and the
    variance grows; for others the gradient is that of their linearization at the vertex.

    lam: lambda > 0, in units of theta per unit of df/dy, with all that the loss multiplies f by: a
    mean over the batch calls for a larger one. Or an `AdaptiveLambda`, which knows no units.
    central: the difference of the solutions on both sides, + and - lambda, over 2 lambda: less bias
    for a second solution (Minervini et al. 2023, arXiv:2209.04862).

    Use it for a solver in the middle of a network, under a differentiable cost.

    >>> import itertools
    >>> from reparam.distributions import PerturbAndMap
    >>> @torch.enable_grad()
    ... def shortest_path(theta):  # -lengths `(N, 4, 4)`: corner to corner, to the right or down
    ...     best, theta = {}, theta.requires_grad_()
    ...     for i, j in itertools.product(range(4), range(4)):  # the dynamic program
    ...         before = [best[k] for k in ((i - 1, j), (i, j - 1)) if k in best]
    ...         best[i, j] = theta[:, i, j] + (torch.stack(before).max(0).values if before else 0)
    ...     return torch.autograd.grad(best[3, 3].sum(), theta)[0]  # 1 on the path, 0 off it
    >>> lengths = torch.rand(4, 4, requires_grad=True)
    >>> d = Imle().draw(PerturbAndMap(-lengths, shortest_path, scale=0.1, event_dim=2), n=8)
    >>> d.points.sum((-1, -2)).tolist()
    [7.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0]
    >>> d.combine((d.points - torch.eye(4)).square().sum((-1, -2))).backward()
    >>> lengths.grad.shape
    torch.Size([4, 4])
    """

    lam: float | AdaptiveLambda = 2.0
    central: bool = False

    unbiased = False
    exact = False
    pathwise = True
    black_box = False
    differentiates = True

    def __post_init__(self) -> None:
        if not (isinstance(self.lam, AdaptiveLambda) or self.lam > 0):
            raise ValueError(f"lam: expected a number > 0 or an AdaptiveLambda, got {self.lam}")

    def _draw(self, q: Distribution, n: int, noise: Noise) -> Draw:
        f = family(q)
        moving = f.perturb(n, noise)
        z, y = moving.detach(), f.hard(moving)
        if y.shape != z.shape or not y.is_floating_point():
            raise TypeError(
                "q: expected outcomes in the space of its parameters, such as one-hot vectors, got "
                f"{describe(q)}; use OneHotCategorical or PerturbAndMap"
            )

        def pull(grad: Tensor) -> Tensor:
            # `combine` divides by n; lambda multiplies the gradient of a single cost.
            g = n * grad.to(z.dtype)
            lam = self._lambda(z, g, len(q.event_shape))
            above = f.hard(z + lam * g) if self.central else y
            change = (above - f.hard(z - lam * g)).to(z.dtype)
            if isinstance(self.lam, AdaptiveLambda):
                self.lam.observe(_rows(change, len(q.event_shape)))
            return change / (lam * n * (2 if self.central else 1))

        points: Tensor = _Pulled.apply(moving, y, pull)  # type: ignore[no-untyped-call]
        return Draw(points, average)

    def _lambda(self, z: Tensor, g: Tensor, dims: int) -> float | Tensor:
        """What broadcasts against points z of so many event dimensions."""
        if not isinstance(self.lam, AdaptiveLambda):
            return self.lam
        lam: Tensor = self.lam(_rows(z.masked_fill(z == -torch.inf, 0), dims), _rows(g, dims))
        return lam.view(z.shape[: z.ndim - dims] + (1,) * dims)


def _rows(values: Tensor, dims: int) -> Tensor:
    """`(*points, *event)` of so many event dimensions -> `(*points, coordinates)`."""
    return values.reshape(*values.shape[: values.ndim - dims], -1)


class _Pulled(torch.autograd.Function):
    """The value y at z, whose gradient `pull` takes back to z."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, y: Tensor, pull: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.pull = pull
        return y.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return ctx.pull(grad), None, None
