"""Modules with a sampling step inside: random in training, settled in eval mode.

Each takes `generator=` or `key=` in its forward; temperatures follow a schedule, which `anneal`
advances.
"""

from reparam.nn.annealed import AnnealedEstimator
from reparam.nn.concrete_selector import ConcreteSelector
from reparam.nn.gate import HardConcreteGate
from reparam.nn.l0_conv2d import L0Conv2d
from reparam.nn.l0_linear import L0Linear
from reparam.nn.prune import prune
from reparam.nn.router import TopKRouter
from reparam.nn.routing import Routing
from reparam.nn.select import Select
from reparam.nn.sinkhorn_permutation import SinkhornPermutation
from reparam.nn.stochastic_categorical import StochasticCategorical
from reparam.nn.temperature import Temperature, anneal

__all__ = [
    "AnnealedEstimator",
    "ConcreteSelector",
    "HardConcreteGate",
    "L0Conv2d",
    "L0Linear",
    "Routing",
    "Select",
    "SinkhornPermutation",
    "StochasticCategorical",
    "Temperature",
    "TopKRouter",
    "anneal",
    "prune",
]
