"""The numbers of a benchmark's own table, beside leak@k: one module a benchmark family."""

from leakatk.evaluation.base import Evaluation as Evaluation
from leakatk.evaluation.base import against as against
from leakatk.evaluation.tofu import evaluate as evaluate
