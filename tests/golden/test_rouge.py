"""Every ROUGE value in two evaluation logs that others published, recomputed from the texts stored beside it."""

import json
from pathlib import Path

import numpy as np
import pytest

from leakatk.scorers import rouge_1, rouge_l


@pytest.mark.parametrize("model", ["full_forget10", "retain90"])
@pytest.mark.parametrize("split", ["forget", "retain", "ra", "wf"])
def test_logged_rouge_values(data_dir: Path, model: str, split: str) -> None:
    path = data_dir / "logs" / "open_unlearning" / f"tofu_1B_{model}_EVAL.json"
    log = json.loads(path.read_text())[f"{split}_Q_A_ROUGE"]
    rows = list(log["value_by_index"].values())
    ours = rouge_l([row["ground_truth"] for row in rows], [row["generation"] for row in rows])
    np.testing.assert_array_equal(ours.recall, [row["rougeL_recall"] for row in rows])
    np.testing.assert_array_equal(ours.f1, [row["rougeL_f1"] for row in rows])
    unigrams = rouge_1([row["ground_truth"] for row in rows], [row["generation"] for row in rows])
    np.testing.assert_array_equal(unigrams.recall, [row["rouge1_recall"] for row in rows])
    assert abs(ours.recall.mean() - log["agg_value"]) < 1e-12
    assert len(rows) >= 100
