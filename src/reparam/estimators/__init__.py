"""One published estimator per file; `ESTIMATORS` is the only list, which all else follows."""

from reparam.core import Estimator
from reparam.estimators.arm import Arm
from reparam.estimators.disarm import Disarm
from reparam.estimators.double_cv import DoubleCv
from reparam.estimators.dreg import Dreg
from reparam.estimators.enumerate import Enumerate
from reparam.estimators.fini import Fini
from reparam.estimators.gapped_straight_through import GappedStraightThrough
from reparam.estimators.gumbel_rao import GumbelRao
from reparam.estimators.gumbel_softmax import GumbelSoftmax
from reparam.estimators.imle import Imle
from reparam.estimators.measure_valued import MeasureValued
from reparam.estimators.mve import MVE
from reparam.estimators.pathwise import Pathwise
from reparam.estimators.perturbed import Perturbed
from reparam.estimators.rebar import Rebar
from reparam.estimators.reinmax import ReinMax
from reparam.estimators.relax import Relax
from reparam.estimators.rloo import Rloo
from reparam.estimators.score import Score
from reparam.estimators.straight_through import StraightThrough
from reparam.estimators.straight_through_gumbel_softmax import StraightThroughGumbelSoftmax
from reparam.estimators.sum_and_sample import SumAndSample
from reparam.estimators.unordered_set import UnorderedSet
from reparam.estimators.vimco import Vimco
from reparam.estimators.zgr import ZGR

ESTIMATORS: dict[str, type[Estimator]] = {
    "pathwise": Pathwise,
    "gumbel-softmax": GumbelSoftmax,
    "straight-through-gumbel-softmax": StraightThroughGumbelSoftmax,
    "straight-through": StraightThrough,
    "gapped-straight-through": GappedStraightThrough,
    "gumbel-rao": GumbelRao,
    "reinmax": ReinMax,
    "zgr": ZGR,
    "mve": MVE,
    "fini": Fini,
    "imle": Imle,
    "perturbed": Perturbed,
    "score": Score,
    "rloo": Rloo,
    "vimco": Vimco,
    "dreg": Dreg,
    "measure-valued": MeasureValued,
    "enumerate": Enumerate,
    "sum-and-sample": SumAndSample,
    "unordered-set": UnorderedSet,
    "rebar": Rebar,
    "relax": Relax,
    "arm": Arm,
    "disarm": Disarm,
    "double-cv": DoubleCv,
}

__all__ = [
    "ESTIMATORS",
    "MVE",
    "ZGR",
    "Arm",
    "Disarm",
    "DoubleCv",
    "Dreg",
    "Enumerate",
    "Fini",
    "GappedStraightThrough",
    "GumbelRao",
    "GumbelSoftmax",
    "Imle",
    "MeasureValued",
    "Pathwise",
    "Perturbed",
    "Rebar",
    "ReinMax",
    "Relax",
    "Rloo",
    "Score",
    "StraightThrough",
    "StraightThroughGumbelSoftmax",
    "SumAndSample",
    "UnorderedSet",
    "Vimco",
]
