from reparam import baselines as baselines
from reparam import distributions as distributions
from reparam import functional as functional
from reparam import schedules as schedules
from reparam.core import Draw as Draw
from reparam.core import Estimator as Estimator
from reparam.core import expect as expect
from reparam.core import sample as sample
from reparam.estimators import ESTIMATORS as ESTIMATORS
from reparam.estimators import Enumerate as Enumerate
from reparam.estimators import GumbelSoftmax as GumbelSoftmax
from reparam.estimators import Pathwise as Pathwise
from reparam.estimators import Rloo as Rloo
from reparam.estimators import Score as Score
from reparam.estimators import StraightThrough as StraightThrough
from reparam.estimators import StraightThroughGumbelSoftmax as StraightThroughGumbelSoftmax
from reparam.problems import PROBLEMS as PROBLEMS
from reparam.specs import estimator as estimator

__version__: str
