"""Control variates against plain Score and Rloo: variance of the gradient, after their training.

Total variance over the logits of one gradient estimate, at the same number of samples (2) and at
the same number of cost evaluations (6: Score and Rloo 6 samples, DoubleCv 3 pairs, Rebar and Relax
2 samples of 3 evaluations). Rebar, Relax and DoubleCv first train their own parameters for some
hundred steps. Relax's surrogate is the paper's: a scaled cost at relaxed points, and a network.

Problems: one Bernoulli at logit 0, (b - t)^2 (Tucker et al. 2017; Grathwohl et al. 2018); 200 of
them, mean (b_i - .499)^2 (Titsias & Shi 2022), at logits 0 and 1; a Bernoulli VAE of 20 latents on
8x8 digits, -log p(x, b) at the logits of 20 images after some training.

Why some differ: at logit 0 no tau and eta take more than 2% off Score's variance on (b - t)^2,
since its relaxation is a valley between two nearly equal ends (by a scan; an independent simulation
of the paper's formula gives our Rebar's variance). And where the ends, or the classes, are so
nearly equal, leave-one-out leaves nothing that a linearization could still explain.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import torch
from benchmarks.published.options import Options
from benchmarks.published.rows import Estimate, Row, lower, shown
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy
from torch.nn.functional import softplus

import reparam as rp
from reparam.data import load

Cost = Callable[[Tensor], Tensor]
BUDGETS = {
    "2 samples": {"Score": 2, "Rloo": 2, "DoubleCv": 1, "Rebar": 2, "Relax": 2},
    "6 evaluations": {"Score": 6, "Rloo": 6, "DoubleCv": 3, "Rebar": 2, "Relax": 2},
}
GROUPS = 20
BOTH = ("Score", "Rloo")
TOY = {"Rebar": ("Score",), "Relax": ("Score",)}
MANY = {"DoubleCv": BOTH}
VAE = {"DoubleCv": BOTH, "Rebar": BOTH, "Relax": BOTH}


@dataclass(frozen=True)
class Problem:
    """A cost of points `(P, rows, *batch, d)` -> `(P, rows, *batch)`, at logits `(*batch, d)`.

    rows: independent estimates in each of the groups that give the errors.
    claims: whom the papers call lower than whom, on problems of this kind.
    """

    name: str
    logits: Tensor
    cost: Cost
    rows: int
    claims: dict[str, tuple[str, ...]]


class Surrogate(nn.Module):
    """c(z) = a f(sigma(z / tau)) + r(z), with a, tau and the network r learned."""

    def __init__(self, cost: Cost, dims: int) -> None:
        super().__init__()
        self.cost = cost
        self.scale = nn.Parameter(torch.ones(()))
        self.log_tau = nn.Parameter(torch.tensor(0.5).log())
        self.net = nn.Sequential(nn.Linear(dims, 10), nn.Tanh(), nn.Linear(10, 1))
        nn.init.zeros_(self.net[2].weight)
        nn.init.zeros_(self.net[2].bias)

    def forward(self, z: Tensor) -> Tensor:
        """Perturbed logits `(n, *batch, d)` -> `(n, *batch)`."""
        relaxed = self.scale * self.cost(torch.sigmoid(z / self.log_tau.exp()))
        return relaxed + self.net(z).squeeze(-1)


def toy(t: float) -> Problem:
    """One Bernoulli at logit 0."""
    cost = lambda b: (b - t).square().sum(-1)  # noqa: E731
    return Problem(f"(b - {t})^2", torch.zeros(1), cost, 2000, TOY)


def many(logit: float) -> Problem:
    """200 Bernoullis."""
    cost = lambda b: (b - 0.499).square().mean(-1)  # noqa: E731
    return Problem(f"200 bits at logit {logit:g}", torch.full((200,), logit), cost, 200, MANY)


def vae(steps: int) -> Problem:
    """A step of a small VAE: its decoder, at its logits of 20 images."""
    images = load("digits", binarize="threshold").train.flatten(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder, decoder = nn.Linear(64, 20), nn.Linear(20, 64)
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-2)
        for _ in range(steps):
            x = images[torch.randint(len(images), (100,))]
            q = _bits(encoder(x))
            kl = (q.mean * q.base_dist.logits - softplus(q.base_dist.logits)).sum(-1) + 20 * 0.6931
            value = rp.expect(lambda b, x=x: _nats(decoder(b), x), q, rp.Rloo(), 4) + kl
            optimizer.zero_grad()
            value.mean().backward()
            optimizer.step()
    weight, bias, x = decoder.weight.detach(), decoder.bias.detach(), images[:20]
    cost = lambda b: _nats(nn.functional.linear(b, weight, bias), x)  # noqa: E731
    return Problem("VAE, 20 latents", encoder(x).detach(), cost, 50, VAE)


def _bits(logits: Tensor) -> Independent:
    return Independent(Bernoulli(logits=logits, validate_args=False), 1, validate_args=False)


def _nats(logits: Tensor, x: Tensor) -> Tensor:
    return cross_entropy(logits, x.expand_as(logits), reduction="none").sum(-1)


def estimators(problem: Problem) -> dict[str, rp.Estimator]:
    """Those compared, untrained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        surrogate = Surrogate(problem.cost, problem.logits.shape[-1])
    return {
        "Score": rp.Score(),
        "Rloo": rp.Rloo(),
        "DoubleCv": rp.DoubleCv(),
        "Rebar": rp.Rebar(),
        "Relax": rp.Relax(surrogate),
    }


def train(
    estimator: rp.Estimator, problem: Problem, steps: int, generator: torch.Generator
) -> None:
    """Train what the estimator learns, on its own objective."""
    if not (parameters := list(estimator.parameters())):
        return
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    logits = problem.logits.expand(problem.rows // 10, *problem.logits.shape)
    for _ in range(steps):
        leaf = logits.clone().requires_grad_()
        value = rp.expect(problem.cost, _bits(leaf), estimator, 1, generator=generator)
        optimizer.zero_grad()
        value.mean().backward()
        optimizer.step()
        decay.step()


def variance(
    estimator: rp.Estimator, problem: Problem, n: int, generator: torch.Generator
) -> Estimate:
    """Total variance of the gradient, the mean over batch rows."""
    each = []
    for _ in range(GROUPS):
        leaf = problem.logits.expand(problem.rows, *problem.logits.shape).clone().requires_grad_()
        value = rp.expect(problem.cost, _bits(leaf), estimator, n, generator=generator)
        (g,) = torch.autograd.grad(value.sum(), leaf)
        each.append(g.double().var(0).sum(-1).mean())
    stacked = torch.stack(each)
    return Estimate(stacked.mean().item(), stacked.std().item() / GROUPS**0.5)


def compare(problem: Problem, options: Options) -> list[Row]:
    """All estimators on one problem."""
    generator = torch.Generator().manual_seed(0)
    made = estimators(problem)
    for estimator in made.values():
        train(estimator, problem, 60 if options.quick else 500, generator)
    rows = []
    for budget, counts in BUDGETS.items():
        found = {k: variance(e, problem, counts[k], generator) for k, e in made.items()}
        rows += [shown(f"{problem.name}, {budget}: {k}", *found[k], "plain") for k in BOTH]
        for k, plain in product(("DoubleCv", "Rebar", "Relax"), BOTH):
            row = lower(f"{problem.name}, {budget}: {k}", found[k], found[plain], plain)
            rows.append(row if plain in problem.claims.get(k, ()) else _unclaimed(row))
    return rows


def _unclaimed(row: Row) -> Row:
    """No paper says so; what we find is shown."""
    found = "" if row.agrees else "not "
    return replace(row, criterion=f"{found}{row.criterion}; no paper's claim", agrees=None)


def run(options: Options) -> list[Row]:
    """The block."""
    problems = [toy(0.45), toy(0.49), toy(0.499), many(0.0), many(1.0)]
    problems.append(vae(50 if options.quick else 300))
    rows = []
    for problem in options.steps(problems, "variance", len(problems)):
        rows += compare(problem, options)
    return rows
