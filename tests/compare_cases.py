"""A model that is compared on in the middle of its training, and reference problems."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, OneHotCategorical

import reparam as rp
from acceptance import seeded
from reparam.diagnostics.comparison import Comparison


def measured(name: str, *specs: str, **chosen: object) -> Comparison:
    """A reference problem, the truth by its own rule."""
    p = rp.PROBLEMS[name]()
    given = {"params": p.params, "exact": p.exact, **chosen}
    return rp.compare(lambda points: p.cost(points, p.weight), p.q, specs, **given)


class Tiny(nn.Module):
    """An encoder with everything that a training step could disturb."""

    def __init__(self, cost_mode: str = "plain") -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.3))
        self.head = nn.Linear(5, 3)
        self.decoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.decoder.eval()
        self.cost_mode = cost_mode
        self.calls = 0
        self.x = torch.randn(6, 4, generator=seeded(0))

    def q(self) -> Distribution:
        """A fresh graph."""
        self.calls += 1
        if self.cost_mode == "raises" and self.calls > 40:
            raise RuntimeError("the 41st call")
        return OneHotCategorical(logits=self.head(self.encoder(self.x)))

    def cost(self, points: Tensor) -> Tensor:
        """It changes modes and gradients, where asked."""
        if self.cost_mode == "meddles":
            self.train()
            self.head.weight.square().sum().backward()
        out = self.decoder(points.flatten(0, 1)).view(*points.shape[:2], 4)
        return (out - self.x).square().sum(-1)


def made(mode: str = "plain") -> Tiny:
    """In the middle of training: gradients and running means are there."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Tiny(mode)
        loss = model.cost(model.q().sample((2,))).sum() + model.head(model.encoder(model.x)).sum()
        loss.backward()
    return model


def leaf(*shape: int) -> Tensor:
    """A positive leaf."""
    return torch.ones(*shape, requires_grad=True)
