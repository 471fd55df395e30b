"""Metrics: numbers of a model that do not come from samples. Importing one of them registers all."""

from leakatk.metrics import choices as choices
from leakatk.metrics import fluency as fluency
from leakatk.metrics import forgetting as forgetting
from leakatk.metrics import membership as membership
from leakatk.metrics import memorisation as memorisation
from leakatk.metrics import retrained as retrained
from leakatk.metrics import truth_ratio as truth_ratio
from leakatk.metrics import utility as utility
