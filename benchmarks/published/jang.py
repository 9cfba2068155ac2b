"""The ordering of categorical VAEs by their test bound, in nats (Jang et al. 2017, table 1).

20 latents of 10 classes on MNIST, each pixel drawn once as Bernoulli(intensity) with seed 0; one
hidden layer of 400, batch 100, Adam 1e-3, temperature 1 falling to .5. Theirs are after full
training, ours after a few epochs, so only the ordering is compared, by the bound with hard
samples. The relaxed value of Gumbel-Softmax is what its own objective says; it is no bound.
"""

from benchmarks.published.options import Options
from benchmarks.published.rows import Row, shown
from benchmarks.published.trained import trained

from reparam.recipes.vae.settings import DiscreteVaeSettings

PUBLISHED = {
    "gumbel-softmax": 101.5,
    "straight-through-gumbel-softmax": 107.8,
    "score:baseline=moving-average": 110.6,
    "straight-through": 110.9,
}
EPOCHS = 5


def train(spec: str, options: Options) -> dict[str, float]:
    """The test metrics after training."""
    settings = DiscreteVaeSettings(
        data=str(options.mnist or "mnist"),
        binarize="static",
        estimator=spec,
        epochs=1 if options.quick else EPOCHS,
        batch=1000 if options.quick else 100,
        iw_samples=1,
        checkpoint_every=10**9,
        device="cpu",
    )
    return trained(settings)


def run(options: Options) -> list[Row]:
    """The block."""
    bounds, rows = {}, []
    for spec, theirs in options.steps(PUBLISHED.items(), "jang", len(PUBLISHED)):
        final = train(spec, options)
        bounds[spec] = -final["bound"]
        note = "theirs is after full training"
        rows.append(Row(f"{spec}: hard", bounds[spec], theirs, None, note))
        if "relaxed" in final:
            rows.append(shown(f"{spec}: relaxed", -final["relaxed"], note="no bound"))
    return [*rows, _ordering(bounds, options)]


def _ordering(bounds: dict[str, float], options: Options) -> Row:
    ours, theirs = (sorted(v, key=v.__getitem__) for v in (bounds, PUBLISHED))
    short = {spec: spec.partition(":")[0] for spec in PUBLISHED}
    text = [" < ".join(short[s] for s in order) for order in (ours, theirs)]
    if options.quick:
        return shown("ordering, best first", text[0], note="quick: too early to tell")
    return Row("ordering, best first", *text, None, "the same order", ours == theirs)
