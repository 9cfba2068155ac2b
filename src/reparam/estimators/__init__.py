"""One published estimator per file; `ESTIMATORS` is the only list, which all else follows."""

from reparam.core import Estimator
from reparam.estimators.enumerate import Enumerate
from reparam.estimators.gumbel_softmax import GumbelSoftmax
from reparam.estimators.pathwise import Pathwise
from reparam.estimators.rloo import Rloo
from reparam.estimators.score import Score
from reparam.estimators.straight_through import StraightThrough
from reparam.estimators.straight_through_gumbel_softmax import StraightThroughGumbelSoftmax

ESTIMATORS: dict[str, type[Estimator]] = {
    "pathwise": Pathwise,
    "gumbel-softmax": GumbelSoftmax,
    "straight-through-gumbel-softmax": StraightThroughGumbelSoftmax,
    "straight-through": StraightThrough,
    "score": Score,
    "rloo": Rloo,
    "enumerate": Enumerate,
}

__all__ = [
    "ESTIMATORS",
    "Enumerate",
    "GumbelSoftmax",
    "Pathwise",
    "Rloo",
    "Score",
    "StraightThrough",
    "StraightThroughGumbelSoftmax",
]
