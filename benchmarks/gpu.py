"""Speed of gumbel_softmax on a CUDA GPU: milliseconds, and ratios to torch's own.

python -m benchmarks.gpu [--out FILE.json] [--rounds 50]

Forward and backward, soft and hard, in float32 and bfloat16: `F.gumbel_softmax` as it is, the same
under `torch.compile`, and ours. The three run in turn, round by round, after the compilers have had
their calls; a time is the median over rounds between CUDA events. Refuses to report while the tests
of the kernels fail.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import gumbel_softmax as standard

from reparam.functional import gumbel_softmax as ours

SHAPES = [(128, 20, 10), (65536, 64), (1_000_000, 8), (256, 50257), (4096, 8192)]
GATE = ["tests/test_triton.py"]
TAU = 0.7
WARM_UP = 5

Operation = Callable[[Tensor], Tensor]


def operations(hard: bool) -> dict[str, Operation]:
    """The three ways, by name."""
    return {
        "F": partial(standard, tau=TAU, hard=hard),
        "torch.compile(F)": torch.compile(partial(standard, tau=TAU, hard=hard)),
        "ours": partial(ours, tau=TAU, hard=hard),
    }


def milliseconds(operation: Operation, x: Tensor, w: Tensor) -> float:
    """One forward and backward pass, between events on the GPU."""
    x.grad = None
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    operation(x).backward(w)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


def compare(
    shape: tuple[int, ...], dtype: torch.dtype, hard: bool, rounds: int
) -> dict[str, float]:
    """The median time of each way."""
    x = torch.randn(shape, device="cuda", dtype=dtype, requires_grad=True)
    w = torch.randn(shape, device="cuda", dtype=dtype)
    ways = operations(hard)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(WARM_UP + rounds):
        for name, operation in ways.items():
            times[name].append(milliseconds(operation, x, w))
    return {name: statistics.median(taken[WARM_UP:]) for name, taken in times.items()}


def gate() -> None:
    """Stop unless there is a GPU and the kernels pass their tests on it."""
    if not torch.cuda.is_available():
        raise SystemExit(
            f"benchmarks.gpu: expected a CUDA device, got none (torch {torch.__version__}); "
            "run it on a machine with a GPU and a CUDA build of torch"
        )
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "pytest", "-q", "-x", *GATE]
    if subprocess.run(command, cwd=root, check=False, capture_output=True).returncode:  # noqa: S603
        raise SystemExit(
            "benchmarks.gpu: expected the tests of the kernels to pass, got failures; "
            f"run {' '.join(command[1:])}"
        )


def measured(rounds: int) -> dict[str, dict[str, float]]:
    """All settings, printed as they come."""
    results = {}
    for shape in SHAPES:
        for dtype in (torch.float32, torch.bfloat16):
            for hard in (False, True):
                torch.compiler.reset()  # one setting's compiled code is not another's
                name = f"{'hard' if hard else 'soft'}, {str(dtype)[6:]}, {list(shape)}"
                times = results[name] = compare(shape, dtype, hard, rounds)
                parts = [f"{way} {ms:8.3f} ms" for way, ms in times.items()]
                print(f"{name:32}  {'  '.join(parts)}  {times['F'] / times['ours']:5.2f} x")
    return results


def main() -> None:
    """Print the times, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    gate()
    torch.manual_seed(0)
    setting = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": version("triton"),
        "date": datetime.now(UTC).date().isoformat(),
    }
    results = measured(options.rounds)
    if options.out:
        options.out.write_text(json.dumps({**setting, "milliseconds": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
