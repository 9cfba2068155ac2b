"""What estimators do on a model as it stands, and what goes wrong with a run: by their numbers."""

from reparam.diagnostics.compare import compare
from reparam.diagnostics.comparison import Advice, Comparison
from reparam.diagnostics.monitor import Monitor
from reparam.diagnostics.sicknesses import Diagnosis
from reparam.diagnostics.vitals import NAMES

__all__ = ["NAMES", "Advice", "Comparison", "Diagnosis", "Monitor", "compare"]
