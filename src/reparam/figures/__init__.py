"""The explanatory figures, recomputed: each file measures, draws and explains one.

`measure(seed)` gives plain numbers, `draw` a matplotlib figure of them, `caption` what it shows.
"""

from reparam.figures import (
    bias_variance,
    gumbel,
    gumbel_max,
    paths,
    reinforce,
    sample_count,
    temperatures,
)
from reparam.figures.figure import Figure

FIGURES: dict[str, Figure] = {
    "paths": paths,
    "gumbel": gumbel,
    "gumbel-max": gumbel_max,
    "temperatures": temperatures,
    "bias-variance": bias_variance,
    "sample-count": sample_count,
    "reinforce": reinforce,
}
"""All figures by name, in the order of the page."""
