"""Polynomial programming, training losses (Hooper & Shekhovtsov 2026).

128 latents of 4 classes, each worth w = W.onehot; minimize the mean over latents of |w - .45|^2
with 8 samples of all latents a step, Adam 1e-3, 200 steps an epoch. An epoch's loss is the mean of
its 200 step losses, measured while it trains. Torch seed 0, then W = randn(4) scaled to [0, 1],
then the logits U(-.01, .01): the public script seeds W with 0 after it took the run's own seed, so
"seed 1" begins here too, and its methods share most random numbers. Theirs is one run each; ours
are several from the same logits with other noise, whose spread sets the criterion. Their ST-GS is
GumbelRao(1), which has the law of StraightThroughGumbelSoftmax.
"""

import torch
from benchmarks.published.options import Options
from benchmarks.published.rows import Estimate, Row, digits, sampled
from torch import Tensor
from torch.distributions import OneHotCategorical

import reparam as rp

EPOCHS = (1, 10, 25, 50)
PUBLISHED = {
    "ST": (rp.StraightThrough(), (0.145164, 0.148668, 0.148489, 0.148042)),
    "ReinMax": (rp.ReinMax(), (0.140121, 0.043071, 0.009205, 0.004273)),
    "MVE": (rp.MVE(), (0.140123, 0.043619, 0.009501, 0.004353)),
    "ST-GS tau=.1": (
        rp.StraightThroughGumbelSoftmax(0.1),
        (0.143755, 0.081107, 0.024452, 0.007509),
    ),
    "GumbelRao(20) tau=.1": (rp.GumbelRao(20, 0.1), (0.140694, 0.047369, 0.010412, 0.004484)),
}
RUNS = 8
SLOW = "GumbelRao(20) tau=.1"
T_7 = 5.408
"""Student's t with 7 degrees of freedom, 99.9% two-sided."""


def setting() -> tuple[Tensor, Tensor]:
    """The worth of the classes `(4,)` and the first logits `(128, 4)`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        worth = torch.randn(4)
        logits = torch.empty(128, 4).uniform_(-0.01, 0.01)
    return (worth - worth.min()) / (worth.max() - worth.min()), logits


def train(estimator: rp.Estimator, runs: int, epochs: int, options: Options, name: str) -> Tensor:
    """Epoch losses of independent runs side by side: `(epochs, runs)`."""
    worth, first = setting()
    logits = first.expand(runs, -1, -1).clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=1e-3)
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in options.steps(range(epochs), f"polynomial, {name}"):
        each = [_step(estimator, worth, logits, optimizer, generator) for _ in range(200)]
        losses.append(torch.stack(each).mean(0))
    return torch.stack(losses)


def _step(
    estimator: rp.Estimator,
    worth: Tensor,
    logits: Tensor,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> Tensor:
    """One step of Adam; the losses of the runs, `(runs,)`."""
    q = OneHotCategorical(logits=logits, validate_args=False)
    draw = estimator.draw(q, 8, generator=generator)
    losses = draw.combine((draw.points @ worth - 0.45).square()).mean(-1)
    optimizer.zero_grad()
    losses.sum().backward()
    optimizer.step()
    return losses.detach()


def run(options: Options) -> list[Row]:
    """The block."""
    worth, _ = setting()
    rows = [digits("optimum", (worth - 0.45).square().min().item(), ".003232")]
    epochs = 1 if options.quick else EPOCHS[-1]
    spread: Tensor | None = None
    for name, (estimator, published) in PUBLISHED.items():
        runs = 1 if name == SLOW else RUNS
        losses = train(estimator, runs, epochs, options, name)
        # One run has no spread; the law of ST-GS, which it averages, has the larger one.
        spread = losses.std(1) if runs > 1 else spread
        assert spread is not None  # noqa: S101 (the slow one is last)
        rows += _compared(name, losses, spread, published, runs)
    return rows


def _compared(
    name: str, losses: Tensor, spread: Tensor, published: tuple[float, ...], runs: int
) -> list[Row]:
    rows = []
    means = losses.mean(1).tolist()
    for epoch, theirs in zip(EPOCHS, published, strict=True):
        if epoch > len(means):
            break
        sd = spread[epoch - 1].item()
        allowed = T_7 * sd * (1 + 1 / runs) ** 0.5
        why = "99.9% interval for one more run" + (" (spread of ST-GS)" if runs == 1 else "")
        what = f"{name}, epoch {epoch}"
        ours = Estimate(means[epoch - 1], sd / runs**0.5)
        rows.append(sampled(what, ours, theirs, allowed, why))
    return rows
