"""What torch.distributions lacks."""

from reparam.distributions.logistic import Logistic

__all__ = ["Logistic"]
