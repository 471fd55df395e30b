"""Columns of the papers' tables: which end of a number is better, and its short name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from leakatk.report.content import Table

# What a published table has an arrow for. PrivLeak is best at 0 and an attack's AUC at that of the retrained model: no arrow.
LOWER = ("greedy", "forget_prob", "forget_rouge", "exact_memorization", "extraction_strength", "verbmem", "knowmem_forget",
         "forget_broken", "sampled_broken", "retain_broken", "sampled_cut", "sampled_empty", "over_unlearned")  # fmt: skip
HIGHER = (
    "retain", "model_utility", "forget_quality", "knowmem_retain", "retain_prob", "retain_rouge", "retain_truth",
    "real_authors_prob", "real_authors_rouge", "real_authors_truth", "world_facts_prob", "world_facts_rouge", "world_facts_truth",
)  # fmt: skip
SHORT = {
    "model_utility": "MU", "forget_quality": "FQ", "forget_prob": "Prob.", "forget_rouge": "ROUGE", "forget_truth": "TR",
    "forget_truth_paper": "TR (paper)", "exact_memorization": "EM", "extraction_strength": "ES", "privleak": "PrivLeak",
    "privleak_membership": "PrivLeak (AUC)", "over_unlearned": "Over", "forget_broken": "Broken (F)",
    "sampled_broken": "Broken", "retain_broken": "Broken (R)", "sampled_cut": "Cut", "sampled_empty": "Empty",
    "verbmem": "VerbMem", "knowmem_forget": "KnowMem (F)", "knowmem_retain": "KnowMem (R)",
    "retain_prob": "R. Prob.", "retain_rouge": "R. ROUGE", "retain_truth": "R. TR", "real_authors_prob": "RA Prob.",
    "real_authors_rouge": "RA ROUGE", "real_authors_truth": "RA TR", "world_facts_prob": "WF Prob.",
    "world_facts_rouge": "WF ROUGE", "world_facts_truth": "WF TR", "auc_loss": "Loss", "auc_zlib": "Zlib",
    "auc_reference": "Ref.", "auc_grad-norm": "Grad.", "auc_min-k": "Min-K", "auc_min-k++": "Min-K++", "tpr_loss": "TPR Loss",
    "tpr_zlib": "TPR Zlib", "tpr_reference": "TPR Ref.", "tpr_grad-norm": "TPR Grad.", "tpr_min-k": "TPR Min-K",
    "tpr_min-k++": "TPR Min-K++", "accuracy": "Acc.", "probability": "Prob.", "greedy": "Greedy", "model": "Model",
    "retain": "Retain",
}  # fmt: skip


def better(column: str) -> str:
    """ "lower", "higher" or "" (neither, or not known), of a column of a results file."""
    if column in LOWER or re.fullmatch(r"(leak|excess)@\d+", column):
        return "lower"
    return "higher" if column in HIGHER or re.fullmatch(r"retain@\d+", column) else ""


def short_names(table: Table) -> dict[str, str]:
    """Column -> its short name, of those that have one."""
    found = {name: SHORT[name] for name in table.columns if name in SHORT}
    for name in table.columns:
        if at := re.fullmatch(r"(leak|excess|retain)@(\d+)", name):
            found[name] = f"{ {'leak': 'L', 'excess': 'Exc.', 'retain': 'Ret.'}[at[1]] }@{at[2]}"
    return found


def apart(roles: Sequence[str]) -> tuple[int, ...]:
    """The rows that are yardsticks, by the roles of all."""
    return tuple(i for i, role in enumerate(roles) if role in ("retrained", "original"))
