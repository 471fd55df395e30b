"""Privacy metrics under the names of former versions: attacks, PrivLeak, over-unlearning, broken text."""

from leakatk.metrics.fluency import broken_share as broken_share
from leakatk.metrics.fluency import is_broken as is_broken
from leakatk.metrics.membership import LOWEST as LOWEST
from leakatk.metrics.membership import auc as auc
from leakatk.metrics.membership import loss_scores as loss_scores
from leakatk.metrics.membership import min_k_plus_plus_scores as min_k_plus_plus_scores
from leakatk.metrics.membership import min_k_scores as min_k_scores
from leakatk.metrics.membership import reference_scores as reference_scores
from leakatk.metrics.membership import tpr_at_fpr as tpr_at_fpr
from leakatk.metrics.membership import zlib_scores as zlib_scores
from leakatk.metrics.retrained import LeakConvention as LeakConvention
from leakatk.metrics.retrained import OverUnlearning as OverUnlearning
from leakatk.metrics.retrained import over_unlearning as over_unlearning
from leakatk.metrics.retrained import privleak as privleak
