"""What estimators need of a distribution, provided once for each kind."""

from reparam.families.base import Family, family
from reparam.families.bernoulli import BernoulliFamily
from reparam.families.categorical import CategoricalFamily, IndexFamily
from reparam.families.continuous import reparameterize
from reparam.families.independent import IndependentFamily
from reparam.families.sampling import is_discrete, log_prob, sample, support

__all__ = [
    "BernoulliFamily",
    "CategoricalFamily",
    "Family",
    "IndependentFamily",
    "IndexFamily",
    "family",
    "is_discrete",
    "log_prob",
    "reparameterize",
    "sample",
    "support",
]
