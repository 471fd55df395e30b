"""TOFU's own evaluation log in the shape of an OpenUnlearning log: eval_log_aggregated.json.

It holds one part a set, with losses and ROUGE of every item and no aggregate. Its first version kept lists, the later one
item number -> value. Source: locuslab/tofu, `utils.py` (arithmetic mean of the wrong answers in the truth ratio, geometric
in forget quality) and `aggregate_eval_stat.py` (geometric in both); neither adds anything to its denominators.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leakatk.errors import InputError

FILES = {
    "eval_log_forget.json": "forget",
    "eval_log.json": "retain",
    "eval_real_author_wo_options.json": "ra",
    "eval_real_world_wo_options.json": "wf",
}
COLUMNS = {  # column of such a part -> metric and key of an OpenUnlearning log
    "avg_gt_loss": ("Q_A_Prob", "avg_loss"),
    "avg_paraphrased_loss": ("Q_A_PARA_Prob", "avg_loss"),
    "average_perturb_loss": ("Q_A_PERT_Prob", "avg_loss"),
    "rougeL_recall": ("Q_A_ROUGE", "rougeL_recall"),
}


class TofuLog(dict[str, Any]):
    """An OpenUnlearning log that was made from TOFU's: its numbers follow TOFU's code."""


def is_tofu(log: Mapping[str, Any]) -> bool:
    return any(name in log for name in FILES)


def from_tofu(log: Mapping[str, Any], where: object) -> TofuLog:
    """Every column of every part as a metric. where: starts the error messages.

    Lists are matched by their places. InputError where those of one part differ in length: their items cannot be matched.
    """
    made = TofuLog()
    for file, split in FILES.items():
        part = log.get(file)
        if not isinstance(part, Mapping):
            continue
        lists = {column: len(part[column]) for column in COLUMNS if isinstance(part.get(column), list)}
        if len(set(lists.values())) > 1:
            counts = ", ".join(f"{count} of {column}" for column, count in lists.items())
            raise InputError(
                f"{where}: the lists of {file} differ in length ({counts}), so no item can be found again; evaluate on one "
                "process, or with TOFU's later code, which numbers its items."
            )
        for column, (metric, key) in COLUMNS.items():
            held = part.get(column)
            items = dict(enumerate(held)) if isinstance(held, list) else held
            if isinstance(items, Mapping) and items:
                made[f"{split}_{metric}"] = {"value_by_index": {str(i): {key: value} for i, value in items.items()}}
    return made
