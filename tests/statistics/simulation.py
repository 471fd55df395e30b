"""The simulations of performance/estimators.py, as a module: tests and benchmark share one definition."""

import importlib.util
import sys
from pathlib import Path

_path = Path(__file__).resolve().parents[2] / "performance" / "estimators.py"
_spec = importlib.util.spec_from_file_location("estimators_benchmark", _path)
assert _spec
assert _spec.loader
estimators = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = estimators
_spec.loader.exec_module(estimators)
