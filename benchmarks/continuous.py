"""What implicit gradients cost: samples of mixtures and von Mises, as ratios in one process.

python -m benchmarks.continuous [--out FILE.json] [--rounds 15]

Forward and backward of 1e5 samples, float32, one CPU thread, against torch's `Normal.rsample`, and
for mixtures against a loop over the components. The sides run in turn, round by round; a ratio is
the median over rounds of our time over the other's: the smaller the better.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import Categorical, Normal
from torch.distributions import MixtureSameFamily as Plain

from reparam.distributions import MixtureSameFamily, VonMises

SAMPLES = 100_000
COMPONENTS = 5

Operation = Callable[[], Tensor]


def normal() -> Operation:
    """torch's own reparameterized samples, of one location and scale each."""
    loc, scale = (torch.ones(SAMPLES, requires_grad=True) for _ in range(2))
    return lambda: Normal(loc, scale).rsample()


def von_mises() -> Operation:
    """Of one location and concentration each."""
    loc = torch.zeros(SAMPLES, requires_grad=True)
    concentration = torch.full((SAMPLES,), 2.0, requires_grad=True)
    return lambda: VonMises(loc, concentration).rsample()


def _parameters() -> list[Tensor]:
    return [torch.linspace(0.5, 2, COMPONENTS).requires_grad_() for _ in range(3)]


def mixture() -> Operation:
    """Of five normals."""
    logits, loc, scale = _parameters()
    return lambda: MixtureSameFamily(Categorical(logits=logits), Normal(loc, scale)).rsample(
        (SAMPLES,)
    )


def loop() -> Operation:
    """The same gradient as people write it: a component after the other, first order only."""
    logits, loc, scale = _parameters()

    def draw() -> Tensor:
        weights = torch.softmax(logits, -1).double()
        parts = [Normal(loc[k].double(), scale[k].double()) for k in range(COMPONENTS)]
        with torch.no_grad():
            x = Plain(Categorical(logits=logits), Normal(loc, scale)).sample((SAMPLES,)).double()
            p = sum(w * part.log_prob(x).exp() for w, part in zip(weights, parts, strict=True))
        cdf = sum(w * part.cdf(x) for w, part in zip(weights, parts, strict=True))
        return (x - (cdf - cdf.detach()) / p).float()

    return draw


RATIOS = {
    "mixture of 5 normals to Normal.rsample": (mixture, normal),
    "mixture of 5 normals to a loop over components": (mixture, loop),
    "von Mises to Normal.rsample": (von_mises, normal),
}


def seconds(operation: Operation) -> float:
    """One forward and backward pass."""
    start = time.perf_counter()
    operation().sum().backward()
    return time.perf_counter() - start


def compare(ours: Operation, theirs: Operation, rounds: int) -> list[float]:
    """The ratio in every round."""
    for operation in (ours, theirs):
        seconds(operation)
    return [seconds(ours) / seconds(theirs) for _ in range(rounds)]


def main() -> None:
    """Print the table of ratios, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = {}
    for name, (ours, theirs) in RATIOS.items():
        ratios = sorted(compare(ours(), theirs(), options.rounds))
        results[name] = statistics.median(ratios)
        print(f"{name:50} {results[name]:6.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    if options.out:
        setting = {"torch": torch.__version__, "date": datetime.now(UTC).date().isoformat()}
        options.out.write_text(
            json.dumps({**setting, "threads": 1, "ratios": results}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
