"""From intensities to zeros and ones: the four treatments found in the VAE literature.

Static: Larochelle & Murray, *The Neural Autoregressive Distribution Estimator*, 2011.
Dynamic: Burda, Grosse & Salakhutdinov, *Importance Weighted Autoencoders*, 2016,
https://arxiv.org/abs/1509.00519, appendix D. Likelihoods compare only within one treatment.
"""

from dataclasses import replace
from typing import Literal, get_args

import torch

from reparam.data.images import Images

Binarization = Literal["none", "threshold", "static", "dynamic"]


def check_choice(how: str) -> None:
    """Raise ValueError unless `how` names a treatment.

    >>> check_choice("dynamic")
    """
    choices = get_args(Binarization)
    if how not in choices:
        raise ValueError(f"binarize: expected one of {', '.join(choices)}, got {how!r}")


def binarized(images: Images, how: Binarization, seed: int) -> Images:
    """Return `images` with their pixels treated, and a note that says how.

    Args:
        images: intensities, as a source returned them.
        how: `none` keeps intensities; `threshold` is 1[x > 1/2]; `static` draws every pixel once
            as Bernoulli(intensity); `dynamic` draws the test pixels once and marks the training
            pixels to be redrawn at every visit.
        seed: of the pixels drawn once.

    >>> grey = Images("grey", torch.full((3, 1, 2, 2), 0.6), torch.full((1, 1, 2, 2), 0.4))
    >>> binarized(grey, "threshold", seed=0).test.unique()
    tensor([0.])
    """
    check_choice(how)
    generator = torch.Generator().manual_seed(seed)
    train, test = images.train, images.test
    match how:
        case "none":
            done = "Pixels are intensities in [0, 1]"
        case "threshold":
            train, test = (train > 0.5).float(), (test > 0.5).float()
            done = "Pixels are 1 where the intensity exceeds 1/2, else 0"
        case "static":
            # The test pixels come first, so that they are those of `dynamic` with this seed.
            test = torch.bernoulli(test, generator=generator)
            train = torch.bernoulli(train, generator=generator)
            done = f"Pixels were drawn once as Bernoulli(intensity) with seed {seed}"
        case "dynamic":
            test = torch.bernoulli(test, generator=generator)
            done = (
                "Training pixels are redrawn as Bernoulli(intensity) at every visit, "
                f"test pixels were drawn once with seed {seed}"
            )
    note = f"{done}; {images.note}"
    return replace(images, train=train, test=test, redraw=how == "dynamic", note=note)
