"""What a run is made of: the options of `reparam train`, in plain data.

Imports nothing heavy: the command line reads its options and their help from here.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options common to all models."""

    data: str = "digits"
    """Images: digits (embedded), mnist (downloaded once), or a path: a folder of IDX files or of
    pictures, a .npy or .npz file."""

    binarize: Literal["none", "threshold", "static", "dynamic"] = "dynamic"
    """Pixels: dynamic draws training pixels black or white by their intensity at every visit,
    static once, threshold cuts at one half, none keeps the grey levels (then a bound is one on
    the cross-entropy, not on log p(x))."""

    samples: int = 1
    """Samples per image and step."""

    encoder: Literal["mlp", "conv"] = "mlp"
    """Networks: one hidden layer, or two convolutions."""

    hidden: int = 400
    """Width of the hidden layer."""

    epochs: int = 30
    """Passes over the training images."""

    batch: int = 128
    """Images per step, over all processes."""

    lr: float = 1e-3
    """Learning rate of Adam."""

    kl_weight: str = "1"
    """Weight of the KL: a number, or a schedule such as linear:start=0,end=1,steps=2000."""

    free_bits: float = 0.0
    """Nats of KL that each latent may keep at no cost."""

    iw_samples: int = 50
    """Samples of the importance-weighted bound at the end."""

    seed: int = 0
    """Decides every random number of the run."""

    log_every: int = 50
    """Steps between training records."""

    checkpoint_every: int = 500
    """Steps between checkpoints; one is also written after every epoch."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU if there is one."""

    threads: int = 1
    """CPU threads of each process; small models gain nothing from more."""

    def __post_init__(self) -> None:
        for name in ("samples", "hidden", "epochs", "batch", "iw_samples", "threads"):
            self._at_least(name, 1)
        for name in ("log_every", "checkpoint_every"):
            self._at_least(name, 1)
        self._at_least("free_bits", 0)
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"--seed: expected an integer from 0 to 2^63 - 1, got {self.seed}")
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"--lr: expected a positive number, got {self.lr}")

    def _at_least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if not value >= least:
            option = "--" + name.replace("_", "-")
            raise ValueError(f"{option}: expected at least {least}, got {value}")


@dataclass(frozen=True, kw_only=True)
class DiscreteVaeSettings(Settings):
    """A VAE whose latent is categorical."""

    estimator: str = "straight-through-gumbel-softmax"
    """How to differentiate the sampling step: a name of `reparam list`, with its fields, such as
    gumbel-softmax:tau=0.5 or score:baseline=moving-average."""

    tau: str = "auto"
    """Temperature: a number or a schedule, such as cosine:start=2,end=0.5. auto lets relaxations
    fall exponentially from 1 to 0.5 within the run, unless the estimator states its own."""

    latents: int = 20
    """Categorical variables."""

    classes: int = 10
    """Classes of each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("latents", 1)
        self._at_least("classes", 2)


@dataclass(frozen=True, kw_only=True)
class VaeSettings(Settings):
    """A VAE whose latent is Gaussian."""

    estimator: str = "pathwise"
    """How to differentiate the sampling step: a name of `reparam list` that serves continuous
    distributions, such as pathwise, dreg or rloo."""

    latents: int = 20
    """Gaussian variables."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("latents", 1)


MODELS: dict[str, type[Settings]] = {"discrete-vae": DiscreteVaeSettings, "vae": VaeSettings}
"""The models that `reparam train` knows."""


def to_dict(settings: Settings) -> dict[str, Any]:
    """Settings as JSON holds them, with the model's name."""
    (model,) = (name for name, cls in MODELS.items() if type(settings) is cls)
    return {"model": model, **asdict(settings)}


def from_dict(values: dict[str, Any]) -> Settings:
    """The settings that `to_dict` wrote."""
    if not isinstance(values, dict):
        raise ValueError(f"config: expected options by name, got {values!r}")  # noqa: TRY004 (of JSON)
    fields = dict(values)
    model = fields.pop("model", None)
    if model not in MODELS:
        raise ValueError(f"config: expected a model of {', '.join(MODELS)}, got {model!r}")
    try:
        return MODELS[model](**fields)
    except TypeError as error:
        raise ValueError(f"config: expected the options of {model}, got {error}") from None
