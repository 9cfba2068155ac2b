"""A mixture of experts that classifies images."""

from math import prod

import torch
from torch import Tensor, nn

from reparam.models.networks import Shape
from reparam.nn import Routing, TopKRouter
from reparam.noise import Key


class ExpertClassifier(nn.Module):
    """A router sends each image to few experts, whose logits it adds up by its weights.

    Shazeer et al. 2017, "Outrageously large neural networks", arXiv:1701.06538. Every expert is
    computed for every image, which is simplest for few and small ones.

    shape: (C, H, W) of an image. hidden: width of each expert's hidden layer.
    router: takes prod(shape) features.

    Takes images `(B, C, H, W)` and returns logits `(B, classes)` and their routing.

    >>> model = ExpertClassifier((1, 8, 8), 10, 16, TopKRouter(dim=64, experts=4, k=2))
    >>> logits, routing = model(torch.zeros(2, 1, 8, 8))
    >>> logits.shape, routing.indices.shape
    (torch.Size([2, 10]), torch.Size([2, 2]))
    """

    def __init__(self, shape: Shape, classes: int, hidden: int, router: TopKRouter) -> None:
        super().__init__()
        self.router = router
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(prod(shape), hidden), nn.ReLU(), nn.Linear(hidden, classes))
            for _ in range(router.linear.out_features)
        )

    def forward(
        self,
        images: Tensor,
        *,
        generator: torch.Generator | None = None,
        key: Key | None = None,
    ) -> tuple[Tensor, Routing]:
        x = images.flatten(1)
        routing: Routing = self.router(x, generator=generator, key=key)
        outputs = torch.stack([expert(x) for expert in self.experts], -2)
        return (routing.dense().unsqueeze(-1) * outputs).sum(-2), routing


def loads(routing: Routing) -> Tensor:
    """Each expert's share of the choices, `(experts,)`."""
    experts = routing.logits.shape[-1]
    counts = routing.indices.flatten().bincount(minlength=experts)
    return counts.double() / counts.sum()


def loads_by_class(routing: Routing, labels: Tensor, classes: int) -> Tensor:
    """Each expert's share of the choices for the images of a class, `(classes, experts)`."""
    experts = routing.logits.shape[-1]
    pairs = labels.unsqueeze(-1) * experts + routing.indices
    counts = pairs.flatten().bincount(minlength=classes * experts).view(classes, experts).double()
    return counts / counts.sum(-1, keepdim=True).clamp(min=1)


def entropy(probs: Tensor) -> Tensor:
    """Of the last dimension, in nats.

    >>> entropy(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    tensor([0.0000, 0.6931])
    """
    nats: Tensor = torch.special.entr(probs).sum(-1)
    return nats
