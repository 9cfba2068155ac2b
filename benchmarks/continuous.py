"""What implicit gradients cost, and how exact they are, as ratios in one process.

python -m benchmarks.continuous [--out DIR] [--rounds 9]

Forward and backward of 1e5 samples, each of its own parameters, in float32 on one CPU thread; of
the mixture, all of one. Processor time, as the machine may be shared. The sides run in turn, round
by round; a ratio is the median over rounds of our time over the other's: the smaller the better.
Errors are the largest relative ones against mpmath; nothing is reported if ours exceed 1e-6.
--out writes continuous.json and continuous.md.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from benchmarks.continuous_accuracy import errors
from torch import Tensor, distributions
from torch.distributions import Categorical, Normal
from torch.distributions import MixtureSameFamily as Plain

from reparam.distributions import Beta, Gamma, MixtureSameFamily, StudentT, VonMises

SAMPLES = 100_000
COMPONENTS = 5

Operation = Callable[[], Tensor]


def each(kind: Callable[..., distributions.Distribution], *values: float) -> Operation:
    """One sample from each of many."""
    parameters = [torch.full((SAMPLES,), v, requires_grad=True) for v in values]
    return lambda: kind(*parameters).rsample()


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


def contests() -> list[tuple[str, str, Operation, dict[str, Operation]]]:
    """Label, name of its accuracy, our side, and the others."""
    rows: list[tuple[str, str, Operation, dict[str, Operation]]] = []
    for ours, theirs, values in [
        *((Gamma, distributions.Gamma, (a, 1.0)) for a in (0.1, 2.5, 100.0)),
        *((Beta, distributions.Beta, v) for v in ((0.5, 0.5), (2.0, 3.0), (100.0, 200.0))),
        *((StudentT, distributions.StudentT, (df,)) for df in (1.0, 5.0)),
    ]:
        label = f"{ours.__name__}{values}".replace(",)", ")")
        rows.append((label, ours.__name__, each(ours, *values), {"torch": each(theirs, *values)}))
    rows += [(f"VonMises(0, {k})", "VonMises", each(VonMises, 0.0, k), {}) for k in (2.0, 100.0)]
    rows.append((f"mixture of {COMPONENTS} normals", "mixture", mixture(), {"loop": loop()}))
    return rows


def seconds(operation: Operation) -> float:
    """One forward and backward pass."""
    start = time.process_time()
    operation().sum().backward()
    return time.process_time() - start


def measured(ours: Operation, others: dict[str, Operation], rounds: int) -> dict[str, Any]:
    """Milliseconds of ours, and its ratios to the others."""
    sides = {"ours": ours, **others, "normal": each(Normal, 0.0, 1.0)}
    for operation in sides.values():
        seconds(operation)
    times = [{name: seconds(side) for name, side in sides.items()} for _ in range(rounds)]
    row: dict[str, Any] = {"milliseconds": 1e3 * statistics.median(t["ours"] for t in times)}
    for name in ("torch", "loop", "normal"):
        ratios = sorted(t["ours"] / t[name] for t in times if name in t)
        row[name] = (
            {"ratio": statistics.median(ratios), "lowest": ratios[0], "highest": ratios[-1]}
            if ratios
            else None
        )
    return row


def cells(row: dict[str, Any]) -> list[str]:
    """A row in print."""
    ratios = [row[name] and f"{row[name]['ratio']:.2f}" for name in ("torch", "loop", "normal")]
    kinds = ("float64", "float32", "torch")
    found = [row["error"][k] and f"{row['error'][k]:.0e}" for k in kinds]
    return [row["operation"], f"{row['milliseconds']:.1f}", *(c or "" for c in [*ratios, *found])]


HEADER = (
    "samples of",
    "ms",
    "to torch's",
    "to a loop",
    "to Normal",
    "error, float64",
    "error, float32",
    "torch's error",
)


def table(setting: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The Markdown file."""
    lines = [HEADER, ("---", *["---:"] * (len(HEADER) - 1)), *map(cells, rows)]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    where = ", ".join(f"{key} {value}" for key, value in setting.items())
    return (
        "# Continuous distributions: cost and accuracy of gradients\n\n"
        "Forward and backward of 1e5 samples in float32. Ratios: the median over rounds of our\n"
        "processor time over that of torch's own distribution, of a loop over the components, and\n"
        "of torch's Normal. Errors: the largest relative one against mpmath; torch's in float64.\n"
        "torch's StudentT goes through two variables, with more variance and no gradient at a\n"
        "fixed point; its von Mises and its mixtures have none.\n\n"
        f"{where}.\n\n{body}\n"
    )


def main() -> None:
    """Print the table of ratios, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the results there")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    setting = {
        "torch": torch.__version__,
        "threads": 1,
        "rounds": options.rounds,
        "date": datetime.now(UTC).date().isoformat(),
    }
    contested = contests()
    exactness = {name: errors(name) for name in dict.fromkeys(name for _, name, *_ in contested)}
    wrong = [name for name, e in exactness.items() if not max(e["float64"], e["float32"]) < 1e-6]
    if wrong:
        raise SystemExit(f"benchmarks.continuous: expected errors below 1e-6, got {exactness}")
    widths = (26, 7, 11, 10, 10, 15, 15, 14)
    print(*(name.rjust(width) for name, width in zip(HEADER, widths, strict=True)))
    rows: list[dict[str, Any]] = []
    for label, name, ours, others in contested:
        row = {"operation": label, **measured(ours, others, options.rounds)}
        rows.append({**row, "error": exactness[name]})
        print(*(c.rjust(w) for c, w in zip(cells(rows[-1]), widths, strict=True)), flush=True)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**setting, "rows": rows}, indent=2) + "\n"
        (options.out / "continuous.json").write_text(text, encoding="utf-8")
        (options.out / "continuous.md").write_text(table(setting, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
