"""An estimator as a part of a module."""

from dataclasses import replace
from typing import Any

from torch import nn

from reparam.core import Estimator
from reparam.nn.temperature import Temperature
from reparam.schedules import Schedule, driveable
from reparam.specs import estimator as named_estimator


class AnnealedEstimator(nn.Module):
    """Returns the estimator at the present temperature; what it learns is a submodule.

    estimator: an estimator or its spec.
    tau: a schedule of its temperature, advanced by `anneal`; by default it stays.

    >>> from reparam.schedules import Linear
    >>> AnnealedEstimator("reinmax", Linear(2.0, 1.0, steps=9))().tau.item()
    2.0
    """

    def __init__(self, estimator: Estimator | str, tau: Schedule | float | None = None) -> None:
        super().__init__()
        self.estimator = named_estimator(estimator) if isinstance(estimator, str) else estimator
        if tau is not None and "tau" not in driveable(self.estimator):
            raise ValueError(
                f"tau: expected an estimator with a temperature, got {self.name}; leave it out"
            )
        self.temperature = None if tau is None else Temperature(tau)
        self.learned = nn.ModuleDict(self.estimator.modules())

    @property
    def name(self) -> str:
        """Of the estimator's class."""
        return type(self.estimator).__name__

    def forward(self) -> Estimator:
        if self.temperature is None:
            return self.estimator
        field: dict[str, Any] = {"tau": self.temperature()}
        return replace(self.estimator, **field)  # type: ignore[type-var]

    def extra_repr(self) -> str:
        return str(self.estimator)
