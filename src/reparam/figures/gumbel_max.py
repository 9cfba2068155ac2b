"""The Gumbel-max trick: one draw, and thousands against softmax."""

from typing import Any

import torch

from reparam.figures.style import BLUE, INK, ORANGE, PALE, QUIET, canvas
from reparam.functional import gumbel_max
from reparam.noise import Noise

TITLE = "The Gumbel-max trick"
LOGITS = (0.8, -0.4, 1.4, 0.1, -1.2, 0.6)
DRAWS = 8_000


def measure(seed: int) -> dict[str, Any]:
    """The noise of one draw, the counts of many, and their chi-squared test against softmax."""
    from scipy import stats  # noqa: PLC0415 (an extra)

    logits = torch.tensor(LOGITS, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    noise = Noise(generator).gumbel(1, logits)[0]
    draws = gumbel_max(logits.expand(DRAWS, -1), generator=generator)
    counts, probs = draws.bincount(minlength=len(LOGITS)), logits.softmax(-1)
    test = stats.chisquare(counts.numpy(), (probs * DRAWS).numpy())
    return {
        "draws": DRAWS,
        "logits": list(LOGITS),
        "noise": noise.tolist(),
        "winner": int((logits + noise).argmax()),
        "counts": counts.tolist(),
        "softmax": probs.tolist(),
        "chi_squared": float(test.statistic),
        "p_value": float(test.pvalue),
    }


def caption(found: dict[str, Any]) -> str:
    """What the figure shows, with its numbers."""
    return (
        "Left: one draw. Gumbel noise (orange) moves each logit (grey) up or down; the highest sum "
        f"wins, here class {found['winner'] + 1}. Right: the share of each class in "
        f"{found['draws']:,} such draws, beside softmax (lines). Chi-squared "
        f"{found['chi_squared']:.2f} with {len(found['logits']) - 1} degrees of freedom, "
        f"p = {found['p_value']:.2f}."
    )


def draw(found: dict[str, Any]) -> Any:
    """Two panels."""
    figure, (one, many) = canvas(3.3, 2)
    places = list(range(1, len(found["logits"]) + 1))
    for place, logit, noise in zip(places, found["logits"], found["noise"], strict=True):
        won = place == found["winner"] + 1
        one.plot([place - 0.3, place + 0.3], [logit] * 2, color=QUIET, linewidth=2.5)
        arrow = {"arrowstyle": "-|>", "color": ORANGE, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 3}
        one.annotate("", (place, logit + noise), (place, logit), arrowprops=arrow)
        one.plot([place], [logit + noise], "o", color=BLUE if won else PALE, markersize=8)
    highest = max(a + b for a, b in zip(found["logits"], found["noise"], strict=True))
    one.axhline(highest, color=BLUE, linewidth=0.8, linestyle=(0, (4, 4)))
    one.set(title="One draw: logit + noise", xlabel="class", xticks=places)
    one.margins(y=0.12)

    shares = [count / found["draws"] for count in found["counts"]]
    many.bar(places, shares, color=BLUE, alpha=0.35, width=0.6)
    for place, prob in zip(places, found["softmax"], strict=True):
        many.plot([place - 0.38, place + 0.38], [prob] * 2, color=INK, linewidth=2)
    many.annotate("softmax", (3.38, found["softmax"][2]), (3.55, found["softmax"][2] - 0.008))
    many.set(title=f"{found['draws']:,} draws", xlabel="class", xticks=places, ylabel="share")
    return figure
