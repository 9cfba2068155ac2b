"""The parts of a bound, and what a loss counts of them."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Terms:
    """The two parts of a bound, in nats; the bound of an image is -(reconstruction + kl.sum(-1)).

    reconstruction: an estimate of E_q[-log p(x|z)], `(B,)`, with the estimator's gradient.
    kl: KL(q(z|x) || p(z)) for each unit of the latent, `(B, units)`. Where it is no formula but an
        estimate, it carries no gradient: the reconstruction has that of both.
    """

    reconstruction: Tensor
    kl: Tensor

    def objective(self) -> Tensor:
        """-(reconstruction + KL), `(B,)`: a lower bound on log p(x) only if the points are hard."""
        return -(self.reconstruction + self.kl.sum(-1))


def free_bits(kl: Tensor, least: float) -> Tensor:
    """The KL that a loss counts: `(B, units)` -> scalar nats per image, each unit at `least`.

    The minimum applies to each unit's mean over the batch (Kingma et al. 2016, "Improved
    Variational Inference with Inverse Autoregressive Flow", arXiv:1606.04934): below
    it there is no gain in saying less, so a unit keeps something to say.

    >>> import torch
    >>> free_bits(torch.tensor([[0.0, 1.0], [0.2, 2.0]]), least=0.25).item()
    1.75
    """
    mean = kl.mean(0)
    return (mean.clamp(min=least) if least > 0 else mean).sum()  # estimates may be negative
