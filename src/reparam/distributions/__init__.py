"""What torch.distributions lacks."""

from reparam.distributions.logistic import Logistic
from reparam.distributions.relaxed_bernoulli import RelaxedBernoulli
from reparam.distributions.relaxed_one_hot_categorical import RelaxedOneHotCategorical

__all__ = ["Logistic", "RelaxedBernoulli", "RelaxedOneHotCategorical"]
