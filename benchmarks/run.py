"""Speed of the operations against the standard ones, as ratios in one process.

python -m benchmarks.run [--out FILE.json] [--rounds 15]

Forward and backward, float32, one CPU thread. Both sides run in turn, round by round, so that a
busy machine slows both; a ratio is the median over rounds of the standard's time over ours. Refuses
to report while the tests of the same operations fail.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import RelaxedOneHotCategorical
from torch.nn.functional import gumbel_softmax as standard

from reparam.functional import gumbel_softmax as ours

SHAPES = [(32, 10), (128, 20, 10), (4096, 64), (65536, 64), (1_000_000, 8), (256, 50257)]
GATE = ["tests/test_kernels.py", "tests/test_functional.py", "tests/test_functional_sampling.py"]
TAU = 0.7

Operation = Callable[[Tensor], Tensor]
PAIRS: dict[str, tuple[Operation, Operation]] = {
    "gumbel_softmax, soft, to F.gumbel_softmax": (
        lambda x: standard(x, TAU),
        lambda x: ours(x, TAU),
    ),
    "gumbel_softmax, hard, to F.gumbel_softmax": (
        lambda x: standard(x, TAU, hard=True),
        lambda x: ours(x, TAU, hard=True),
    ),
    "gumbel_softmax, soft, to RelaxedOneHotCategorical": (
        lambda x: RelaxedOneHotCategorical(torch.tensor(TAU), logits=x).rsample(),
        lambda x: ours(x, TAU),
    ),
}


def seconds(operation: Operation, x: Tensor, w: Tensor, repeats: int) -> float:
    """One forward and backward pass, the mean of some repeats."""
    start = time.perf_counter()
    for _ in range(repeats):
        x.grad = None
        operation(x).backward(w)
    return (time.perf_counter() - start) / repeats


def compare(pair: tuple[Operation, Operation], shape: tuple[int, ...], rounds: int) -> list[float]:
    """The ratio in every round."""
    x = torch.randn(shape, requires_grad=True)
    w = torch.randn(shape)
    repeats = max(1, 40_000 // x.numel())
    for operation in pair:
        seconds(operation, x, w, repeats)
    times = [[seconds(operation, x, w, repeats) for operation in pair] for _ in range(rounds)]
    return [theirs / own for theirs, own in times]


def gate() -> None:
    """Stop unless the operations pass their tests."""
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "pytest", "-q", "-x", *GATE]
    if subprocess.run(command, cwd=root, check=False, capture_output=True).returncode:  # noqa: S603
        raise SystemExit(
            "benchmarks.run: expected the tests of the operations to pass, got failures; "
            f"run {' '.join(command[1:])}"
        )


def main() -> None:
    """Print the table of ratios, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    gate()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = {}
    for name, pair in PAIRS.items():
        print(name)
        for shape in SHAPES:
            ratios = sorted(compare(pair, shape, options.rounds))
            middle = statistics.median(ratios)
            results[f"{name}, {list(shape)}"] = middle
            print(f"  {list(shape)!s:>16}  {middle:5.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    if options.out:
        setting = {
            "torch": torch.__version__,
            "date": datetime.now(UTC).date().isoformat(),
            "threads": 1,
        }
        options.out.write_text(json.dumps({**setting, "ratios": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
