"""What estimators need of a distribution, provided once for each kind."""

from reparam.families.base import Family, describe, family
from reparam.families.bernoulli import BernoulliFamily, bernoulli_logits
from reparam.families.categorical import CategoricalFamily, IndexFamily
from reparam.families.classes import Classes, classes, zero_carrying
from reparam.families.continuous import reparameterize
from reparam.families.independent import IndependentFamily, unwrapped
from reparam.families.permutation import PermutationFamily
from reparam.families.perturb_and_map import PerturbAndMapFamily
from reparam.families.ranked import PlackettLuceFamily, SubsetFamily
from reparam.families.sampling import (
    event_sum,
    is_discrete,
    log_prob,
    pick,
    sample,
    scored_sample,
    support,
)

__all__ = [
    "BernoulliFamily",
    "CategoricalFamily",
    "Classes",
    "Family",
    "IndependentFamily",
    "IndexFamily",
    "PermutationFamily",
    "PerturbAndMapFamily",
    "PlackettLuceFamily",
    "SubsetFamily",
    "bernoulli_logits",
    "classes",
    "describe",
    "event_sum",
    "family",
    "is_discrete",
    "log_prob",
    "pick",
    "reparameterize",
    "sample",
    "scored_sample",
    "support",
    "unwrapped",
    "zero_carrying",
]
