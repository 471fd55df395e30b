"""Shared parts of the presets: the usual retain term, and where their numbers come from.

Everywhere: open-unlearning and the papers' code take the mean over all tokens of a micro-batch, so that a long answer
weighs more than a short one. Ours is over each answer's tokens, then over answers; `per=token` takes theirs. On answers of
one length, and for losses on whole answers (NPO, SimNPO, DPO), they are the same: tests/golden/test_methods.py.
"""

from __future__ import annotations

from dataclasses import replace

from leakatk.unlearning.losses import terms
from leakatk.unlearning.method import LEAKATK_STUDY
from leakatk.unlearning.stages import Term

KEEP = Term(terms.nll, "retain")  # R = -E<log p(y_t)> on retain answers

TOFU = "Maini et al. 2024 (TOFU), arXiv 2401.06121"
OPEN_UNLEARNING = "open-unlearning (arXiv 2506.12618)"
STUDY = "Leak@k study, Llama-3.2-1B on TOFU forget10 (arXiv 2511.04934)"
PER_TOKEN = "; it averages over all tokens of the batch (per=token)"

FIVE_EPOCHS = replace(LEAKATK_STUDY, epochs=5)
EPOCHS = "open-unlearning's trainer file says five epochs; its TOFU experiment, which overrides that, ten: --epochs 10."

REMOVAL, SUPPRESSION = frozenset({"removal"}), frozenset({"suppression"})
