"""Recompute the aggregates of an OpenUnlearning evaluation log (TOFU_EVAL.json) from its per-item values.

The log maps a metric to {agg_value, value_by_index}. What is recomputed here uses `leakatk.utility`, `leakatk.privacy` and
our ROUGE, so a log written elsewhere checks them, and a log can be judged without its model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leakatk import privacy, utility
from leakatk.data import Prompt, read_text
from leakatk.errors import InputError
from leakatk.scorers.base import get_scorer
from leakatk.utility import Floats

Log = Mapping[str, Any]
SPLITS = {"retain": "retain", "ra": "real_authors", "wf": "world_facts"}


@dataclass(frozen=True, slots=True)
class Recomputed:
    """One aggregate: what we get, and what the log says (NaN where it says nothing)."""

    name: str
    value: float
    stored: float


def read_log(path: str | Path) -> Log:
    """The log, its shape checked. InputError names what is wrong."""
    try:
        log = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not valid JSON ({error.msg}, line {error.lineno}); is it cut short?") from None
    if not isinstance(log, dict) or not any(isinstance(m, dict) and "agg_value" in m for m in log.values()):
        raise InputError(
            f"{path} is no OpenUnlearning evaluation log: no metric with agg_value. Give a TOFU_EVAL.json."
        )
    return log


def recompute(log: Log, retained: Log | None = None) -> list[Recomputed]:
    """Every aggregate that the log's per-item values allow, in a fixed order.

    retained: the log of the retain-only model; forget quality needs it, PrivLeak is taken against .5 without it.
    """
    found: dict[str, float] = {}

    def take(name: str, compute: Callable[..., Any], *arguments: Any) -> None:
        try:
            found[name] = float(compute(*arguments))
        except KeyError:
            return  # the log does not hold what this needs
        except (TypeError, ValueError) as error:
            raise InputError(f"Metric {name} of the log cannot be recomputed: {error}") from error

    for split in ("forget", *SPLITS):
        take(f"{split}_Q_A_Prob", _mean, log, f"{split}_Q_A_Prob", "prob")
        take(f"{split}_Q_A_ROUGE", lambda s: rouge(log, s).mean(), split)
    for split in ("ra", "wf"):
        take(f"{split}_Q_A_Prob_normalised", lambda s: _choices(log, s).mean(), split)
    take("forget_truth_ratio", lambda: utility.truth_on_forget(ratios(log, "forget")))
    for split in SPLITS:
        take(f"{split}_Truth_Ratio", lambda s: utility.truth_on_utility(ratios(log, s)), split)
    take("model_utility", lambda: utility.model_utility(_nine(found)))
    if retained is not None:
        take("forget_quality", lambda: utility.forget_quality(ratios(log, "forget"), ratios(retained, "forget")))
    for name in ("exact_memorization", "extraction_strength"):
        take(name, _mean, log, name, "score")
    for name in sorted(metric for metric in log if metric.startswith("mia_")):
        take(name, attack_auc, log, name)
    take(
        "privleak", lambda: privacy.privleak(found["mia_min_k"], attack_auc(retained, "mia_min_k") if retained else 0.5)
    )
    return [Recomputed(name, value, _stored(log, name)) for name, value in found.items()]


def _mean(log: Log, metric: str, key: str) -> float:
    return float(np.mean(column(log, metric, key)))


def column(log: Log, metric: str, key: str) -> list[Any]:
    """One value an item, in the order of the items. KeyError when the log lacks them."""
    items = log[metric]["value_by_index"]
    return [items[i][key] for i in sorted(items, key=int)]


def ratios(log: Log, split: str) -> Floats:
    """Truth ratios of "forget", "retain", "ra" or "wf", from the stored losses."""
    right = "Q_A_PARA_Prob" if split in ("forget", "retain") else "Q_A_Prob"
    correct = -np.asarray(column(log, f"{split}_{right}", "avg_loss"), dtype=np.float64)
    wrong = column(log, f"{split}_Q_A_PERT_Prob", "avg_loss")
    return utility.truth_ratio(correct, [-np.asarray(row, dtype=np.float64) for row in wrong])


def rouge(log: Log, split: str) -> Floats:
    """ROUGE-L recall of the stored texts."""
    truths = column(log, f"{split}_Q_A_ROUGE", "ground_truth")
    prompts = [Prompt(str(i), "?", truth) for i, truth in enumerate(truths)]
    return get_scorer("rouge-l").score(prompts, column(log, f"{split}_Q_A_ROUGE", "generation"))


def attack_auc(log: Log, metric: str) -> float:
    """AUC of a membership attack, forget against holdout."""
    forget, holdout = (column(log[metric], part, "score") for part in ("forget", "holdout"))
    return privacy.auc(forget, holdout)


def _choices(log: Log, split: str) -> Floats:
    wrong = column(log, f"{split}_Q_A_PERT_Prob", "prob")
    return utility.choice_probability(column(log, f"{split}_Q_A_Prob", "prob"), wrong)


def _nine(found: Mapping[str, float]) -> dict[str, float]:
    nine = {}
    for theirs, ours in SPLITS.items():
        probability = "Q_A_Prob" if theirs == "retain" else "Q_A_Prob_normalised"
        nine[f"{ours}_prob"] = found[f"{theirs}_{probability}"]
        nine[f"{ours}_rouge"] = found[f"{theirs}_Q_A_ROUGE"]
        nine[f"{ours}_truth"] = found[f"{theirs}_Truth_Ratio"]
    return nine


def _stored(log: Log, name: str) -> float:
    metric = log.get(name)
    value = metric.get("agg_value") if isinstance(metric, Mapping) else metric
    return math.nan if value is None else float(value)
