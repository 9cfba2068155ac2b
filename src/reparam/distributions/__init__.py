"""What torch.distributions lacks or gets wrong."""

from reparam.distributions.beta import Beta
from reparam.distributions.dirichlet import Dirichlet
from reparam.distributions.gamma import Gamma
from reparam.distributions.generalized_gamma import GeneralizedGamma
from reparam.distributions.hard_concrete import HardConcrete
from reparam.distributions.implicit import Implicit
from reparam.distributions.inverse_gaussian import InverseGaussian
from reparam.distributions.log_dirichlet import LogDirichlet
from reparam.distributions.logistic import Logistic
from reparam.distributions.mixture import MixtureSameFamily
from reparam.distributions.one_hot_categorical import OneHotCategorical
from reparam.distributions.permutation import Permutation
from reparam.distributions.perturb_and_map import GumbelNoise as GumbelNoise
from reparam.distributions.perturb_and_map import NormalNoise as NormalNoise
from reparam.distributions.perturb_and_map import PerturbAndMap
from reparam.distributions.perturb_and_map import SumOfGammaNoise as SumOfGammaNoise
from reparam.distributions.plackett_luce import PlackettLuce
from reparam.distributions.relaxed_bernoulli import RelaxedBernoulli
from reparam.distributions.relaxed_count import RelaxedCount, RelaxedCountStraightThrough
from reparam.distributions.relaxed_one_hot_categorical import RelaxedOneHotCategorical
from reparam.distributions.straight_through import (
    RelaxedBernoulliStraightThrough,
    RelaxedOneHotCategoricalStraightThrough,
)
from reparam.distributions.student_t import StudentT
from reparam.distributions.subset import Subset
from reparam.distributions.truncated_normal import TruncatedNormal
from reparam.distributions.von_mises import VonMises
from reparam.distributions.von_mises_fisher import VonMisesFisher

__all__ = [
    "Beta",
    "Dirichlet",
    "Gamma",
    "GeneralizedGamma",
    "HardConcrete",
    "Implicit",
    "InverseGaussian",
    "LogDirichlet",
    "Logistic",
    "MixtureSameFamily",
    "OneHotCategorical",
    "Permutation",
    "PerturbAndMap",
    "PlackettLuce",
    "RelaxedBernoulli",
    "RelaxedBernoulliStraightThrough",
    "RelaxedCount",
    "RelaxedCountStraightThrough",
    "RelaxedOneHotCategorical",
    "RelaxedOneHotCategoricalStraightThrough",
    "StudentT",
    "Subset",
    "TruncatedNormal",
    "VonMises",
    "VonMisesFisher",
]
