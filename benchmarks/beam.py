"""What samples without replacement are worth: errors of expectations at equal model evaluations.

python -m benchmarks.beam [--out FILE.json] [--trials 4000]

A model is a table of random logits for every prefix, small enough to enumerate. Two expectations,
the entropy E[-log p] and E[f] with f the share of token 0 in a sequence, are estimated from k
sequences: by the mean of k samples with replacement, and from one stochastic beam search for k,
weighted by p / q, plainly (unbiased) and normalized. A search evaluates the model for k rows at
each step, as k samples do (and for one at the first). Errors are root mean squares over trials; a
gain is the mean square of plain sampling over that of the search. FILE.md comes beside FILE.json.
"""

import argparse
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from reparam import Sequences, stochastic_beam_search

V, END, MAX_LEN = 6, 5, 5
MODELS = {"flat": 1.0, "peaked": 3.0}
"""The standard deviation of the logits."""
SIZES = (2, 4, 8, 16, 32, 64)
COLUMNS = ("model", "quantity", "k", "exact", "plain", "unbiased", "normalized", "gain", "n. gain")
DEFAULT = Path(__file__).parent / "results" / "beam.json"


def search(table: Tensor, k: int, rows: int, generator: torch.Generator) -> Sequences:
    """Rows independent searches; the state is the prefix, numbered as in a heap."""

    def step(last: Tensor, parent: Tensor) -> tuple[Tensor, Tensor]:
        node = V * parent + last + 1
        return table[node.clamp(max=len(table) - 1)], node

    start, state = torch.full((rows,), -1), torch.zeros(rows, dtype=torch.int64)
    return stochastic_beam_search(step, k, MAX_LEN, start, state, end=END, generator=generator)


def sequences(table: Tensor) -> Iterator[tuple[float, float]]:
    """log p and f of every sequence, in float64."""
    log_p = torch.log_softmax(table.double(), -1).tolist()
    todo: list[tuple[int, float, tuple[int, ...]]] = [(0, 0.0, ())]
    while todo:
        node, total, tokens = todo.pop()
        if len(tokens) == MAX_LEN or END in tokens:
            yield total, tokens.count(0) / len(tokens)
            continue
        todo += [
            (V * node + token + 1, total + log_p[node][token], (*tokens, token))
            for token in range(V)
        ]


def quantities(found: Sequences) -> dict[str, Tensor]:
    """Values of the sequences found, `(trials, k)`."""
    zeros = (found.tokens == 0) & (torch.arange(MAX_LEN) < found.lengths.unsqueeze(-1))
    return {"entropy": -found.log_probs, "E[f]": zeros.sum(-1) / found.lengths.double()}


def contest(name: str, scale: float, trials: int) -> list[dict[str, object]]:
    """The errors on one model, a row for each quantity and size."""
    generator = torch.Generator().manual_seed(0)
    nodes = sum(V**depth for depth in range(MAX_LEN))
    table = scale * torch.randn(nodes, V, generator=generator)
    log_p, f = torch.tensor(list(sequences(table)), dtype=torch.float64).T
    exact = {"entropy": -(log_p.exp() * log_p).sum().item(), "E[f]": (log_p.exp() @ f).item()}
    results = []
    for k in SIZES:
        found = search(table, k, trials, generator)
        plain = quantities(search(table, 1, trials * k, generator))
        for quantity, values in quantities(found).items():
            estimates = {
                "plain": plain[quantity].view(trials, k).mean(-1),
                "unbiased": found.expectation(values),
                "normalized": found.expectation(values, normalized=True),
            }
            truth = exact[quantity]
            errors = {
                way: (values - truth).square().mean().sqrt().item()
                for way, values in estimates.items()
            }
            gains = {
                "gain": (errors["plain"] / errors["unbiased"]) ** 2,
                "n. gain": (errors["plain"] / errors["normalized"]) ** 2,
            }
            row = {"model": name, "quantity": quantity, "k": k, "exact": truth}
            results.append(row | errors | gains)
    return sorted(results, key=lambda row: str(row["quantity"]))


def table_of(rows: list[dict[str, object]]) -> str:
    """As Markdown."""
    cells = [
        [f"{row[c]:.4g}" if isinstance(row[c], float) else str(row[c]) for c in COLUMNS]
        for row in rows
    ]
    lines = [list(COLUMNS), ["---"] * len(COLUMNS), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Print the table, and write it with its setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DEFAULT)
    parser.add_argument("--trials", type=int, default=4000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    rows = [r for name, scale in MODELS.items() for r in contest(name, scale, options.trials)]
    setting = {
        "command": "python -m benchmarks.beam",
        "date": datetime.now(UTC).date().isoformat(),
        "torch": torch.__version__,
        "trials": options.trials,
        "seconds": round(time.perf_counter() - started, 1),
    }
    table = table_of(rows)
    print(table)
    options.out.write_text(json.dumps({**setting, "rows": rows}, indent=2) + "\n")
    notes = "\n".join(f"- {name}: {value}" for name, value in setting.items())
    about = __doc__.split("\n\n", 2)[2].rstrip()
    options.out.with_suffix(".md").write_text(
        f"# Stochastic beam search against sampling with replacement\n\n{notes}\n\n{about}\n\n"
        f"{table}\n"
    )


if __name__ == "__main__":
    main()
