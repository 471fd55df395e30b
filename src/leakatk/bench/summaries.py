"""Rows of a results file as OpenUnlearning's summaries: TOFU_SUMMARY.json or MUSE_SUMMARY.json, one a model and seed.

The form is that code's own: metric -> number in the order of the names. Source: `src/evals/base.py` and `configs/eval` of
locuslab/open-unlearning, and its published logs. What has another definition here is left out and named: extraction strength
(that code gives 1/T where nothing is extracted) and the gradient norm (a mean over tensors there).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from leakatk.bench.results import Row
from leakatk.errors import InputError
from leakatk.files.writing import write_atomic

ATTACKS = {"loss": "loss", "zlib": "zlib", "min-k": "min_k", "min-k++": "min_k_plus_plus", "reference": "reference"}
_SHARED = {
    "privleak": "privleak",
    "exact_memorization": "exact_memorization",
    **{f"auc_{ours}": f"mia_{theirs}" for ours, theirs in ATTACKS.items()},
}
# Ours -> theirs, by the evaluator that writes the file.
NAMES: Mapping[str, Mapping[str, str]] = {
    "TOFU": {
        "model_utility": "model_utility",
        "forget_quality": "forget_quality",
        "forget_prob": "forget_Q_A_Prob",
        "forget_rouge": "forget_Q_A_ROUGE",
        "forget_truth": "forget_Truth_Ratio",
        **_SHARED,
    },
    "MUSE": {
        "verbmem": "forget_verbmem_ROUGE",
        "knowmem_forget": "forget_knowmem_ROUGE",
        "knowmem_retain": "retain_knowmem_ROUGE",
        **_SHARED,
    },
}
OTHER = ("extraction_strength", "mia_gradnorm")  # defined otherwise here


def summary_of(rows: Sequence[Row]) -> dict[str, float]:
    """The numbers of one model and seed under OpenUnlearning's names, and leak@k of each row as "leak@K SCORER, DECODING".

    A number that is missing is left out, as that code does.
    """
    found: dict[str, float] = {}
    for row in rows:
        for ours, theirs in NAMES[evaluator(row)].items():
            if _known(row.get(ours)):
                found[theirs] = float(row[ours])
        for column, value in row.items():
            if re.fullmatch(r"(leak|excess)@\d+", column) and _known(value):
                found[f"{column} {row['scorer']}, {row['decoding']}"] = float(value)
    return dict(sorted(found.items()))


def evaluator(row: Row) -> str:
    """ "MUSE" for rows with its numbers, else "TOFU"."""
    return "MUSE" if _known(row.get("verbmem")) or _known(row.get("knowmem_forget")) else "TOFU"


def write_summaries(rows: Sequence[Row], out: Path) -> dict[Path, str]:
    """OUT/NAME/TOFU_SUMMARY.json (MUSE_) for each model and seed; each file, and what it holds and lacks in a sentence.

    NAME is the label or the model's name, with the seed and the benchmark where several share it.

    Raises InputError where two models would be one file.
    """
    groups: dict[tuple[str, str, str, int], list[Row]] = {}
    for row in rows:
        name = row.get("label") or Path(row["model"]).name
        groups.setdefault((name, row["model_sha256"], row["benchmark"], row["seed"]), []).append(row)
    made: dict[Path, str] = {}
    for (name, _, benchmark, seed), found in groups.items():
        alike = [key for key in groups if key[0] == name]
        words = [name]
        words += [benchmark] if len({key[2] for key in alike}) > 1 else []
        words += [f"seed-{seed}"] if len({key[3] for key in alike}) > 1 else []
        folder = re.sub(r"[^\w.+-]+", "-", "-".join(words)).strip("-.") or "model"
        kind = evaluator(found[0])
        path = out / folder / f"{kind}_SUMMARY.json"
        if path in made:
            raise InputError(
                f"Two models would be written to {path}: give each a label of its own (leakatk bench --label)."
            )
        values = summary_of(found)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(values, indent=4))
        theirs = NAMES[kind].values()
        lacking = [metric for metric in theirs if metric not in values]
        made[path] = (
            f"{sum(metric in values for metric in theirs)} of OpenUnlearning's numbers; left out as defined otherwise here: "
            f"{', '.join(OTHER)}" + (f"; not measured: {', '.join(lacking)}" if lacking else "") + "."
        )
    return made


def _known(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
