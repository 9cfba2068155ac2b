"""The options of the two VAEs."""

from dataclasses import dataclass
from typing import Literal

from reparam.recipes.images import ImageSettings

Posterior = Literal["gaussian", "mixture", "von-mises", "von-mises-fisher", "dirichlet"]


@dataclass(frozen=True, kw_only=True)
class CommonVaeSettings(ImageSettings):
    """What the VAEs have in common."""

    samples: int = 1
    """Samples per image and step."""

    encoder: Literal["mlp", "conv"] = "mlp"
    """Networks: one hidden layer, or two convolutions."""

    hidden: int = 400
    """Width of the hidden layer."""

    kl_weight: str = "1"
    """Weight of the KL: a number, or a schedule such as linear:start=0,end=1,steps=2000."""

    free_bits: float = 0.0
    """Nats of KL that each latent may keep at no cost."""

    iw_samples: int = 50
    """Samples of the importance-weighted bound at the end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("samples", "hidden", "iw_samples"):
            self._at_least(name, 1)
        self._at_least("free_bits", 0)


@dataclass(frozen=True, kw_only=True)
class DiscreteVaeSettings(CommonVaeSettings):
    """Train a VAE with a categorical latent."""

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
class VaeSettings(CommonVaeSettings):
    """Train a VAE with a continuous latent."""

    estimator: str = "pathwise"
    """How to differentiate the sampling step: a name of `reparam list` that serves continuous
    distributions, such as pathwise, dreg or rloo."""

    posterior: Posterior = "gaussian"
    """What the encoder says of an image: Gaussians, one mixture of Gaussians, angles (von-mises),
    a point on a sphere (von-mises-fisher), or proportions (dirichlet)."""

    prior: Literal["standard", "mixture", "vampprior"] = "standard"
    """What is believed of all images: standard is N(0, 1), or uniform for angles, spheres and
    proportions; mixture learns components of the posterior's kind, vampprior learns images whose
    posteriors they are."""

    latents: int = 20
    """Dimensions: Gaussian variables, angles, coordinates of the point, or proportions."""

    components: int = 10
    """Components of every mixture, in posterior and prior."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least("latents", 2 if self.posterior in ("von-mises-fisher", "dirichlet") else 1)
        self._at_least("components", 1)
        default = type(self).components
        if self.components != default and self.posterior != "mixture" and self.prior == "standard":
            raise ValueError(
                f"--components: expected a mixture to have them, got {self.components} for "
                f"--posterior {self.posterior} --prior standard; leave it out, or choose "
                "--posterior mixture, --prior mixture or --prior vampprior"
            )
