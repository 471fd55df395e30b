"""Summaries in OpenUnlearning's form: its names, read back by what reads its logs, and what is left out is named."""

import json

import pytest

from leakatk.bench.logs import read_log
from leakatk.bench.summaries import NAMES, OTHER, summary_of, write_summaries
from leakatk.errors import InputError
from tests.bench.test_over_seeds import row

NUMBERS = {
    "model_utility": 0.6, "forget_quality": 1e-8, "forget_prob": 0.3, "forget_rouge": 0.4, "forget_truth": 0.5, "privleak": -20.0,
    "exact_memorization": 0.7, "auc_loss": 0.6, "auc_min-k": 0.55, "extraction_strength": 0.2, "auc_grad-norm": 0.9, "leak@4": 0.25,
    "leak@4 low": 0.1, "auc_zlib": float("nan"),
}  # fmt: skip


def test_the_form_is_theirs(tmp_path):
    [(path, said)] = write_summaries([row("npo: beta=0.1", 3, **NUMBERS)], tmp_path).items()
    assert path == tmp_path / "npo-beta-0.1" / "TOFU_SUMMARY.json"
    values = json.loads(path.read_text())
    assert list(values) == sorted(values)
    assert values == {
        "model_utility": 0.6, "forget_quality": 1e-8, "forget_Q_A_Prob": 0.3, "forget_Q_A_ROUGE": 0.4, "forget_Truth_Ratio": 0.5,
        "privleak": -20.0, "exact_memorization": 0.7, "mia_loss": 0.6, "mia_min_k": 0.55, "leak@4 fact, T=1": 0.25,
    }  # fmt: skip
    assert said.startswith(
        "9 of OpenUnlearning's numbers; left out as defined otherwise here: extraction_strength, mia_gradnorm"
    )
    assert "not measured: mia_zlib, mia_min_k_plus_plus, mia_reference" in said
    assert read_log(path)["model_utility"] == {"agg_value": 0.6}, "`leakatk recompute` reads it as one of theirs"


def test_the_names_are_those_of_published_logs(data_dir):
    logs = data_dir / "logs" / "open_unlearning"
    if not logs.is_dir():
        pytest.skip("no published logs at hand")
    published = json.loads((logs / "tofu_1B_full_forget10_SUMMARY.json").read_text())
    assert set(published) - {"forget_truth_ratio"} <= set(NAMES["TOFU"].values()) | set(OTHER)
    # The truth ratio of the forget set has had two names; the later one stands in today's configuration.
    assert set(NAMES["TOFU"].values()) - set(published) == {"forget_Truth_Ratio"}


def test_seeds_and_models_have_files_of_their_own(tmp_path):
    rows = [row("npo", 0, **NUMBERS), row("npo", 1, **NUMBERS), row("ga", 0, verbmem=0.5, knowmem_forget=0.25)]
    made = write_summaries(rows, tmp_path)
    assert {path.parent.name for path in made} == {"npo-seed-0", "npo-seed-1", "ga"}
    assert summary_of([rows[2]]) == {"forget_knowmem_ROUGE": 0.25, "forget_verbmem_ROUGE": 0.5}
    twin = {**row("npo", 0, **NUMBERS), "model_sha256": "another"}
    with pytest.raises(InputError, match="label of its own"):
        write_summaries([*rows, twin], tmp_path / "twice")
