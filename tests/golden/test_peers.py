"""Numbers that the peers' own published code gave on small inputs (tests/golden/peers: inputs, values, and which code)."""

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from leakatk.bench.logs import GEOMETRIC, read_log, recompute
from leakatk.errors import InputError
from leakatk.metrics import privacy, utility

PEERS = Path(__file__).parent / "peers"
SAME = 1e-12  # both compute in float64


def golden(name):
    return json.loads((PEERS / f"{name}.json").read_text())


# -- TOFU's repository

AGGREGATES = {  # what its utils.py calls what `recompute` names
    "forget_Q_A_Prob": "Forget Probability",
    "retain_Q_A_Prob": "Retain Probability",
    "ra_Q_A_Prob_normalised": "Real Authors Probability",
    "wf_Q_A_Prob_normalised": "Real World Probability",
    "forget_truth_ratio": "Forget Truth Ratio",
    "retain_Truth_Ratio": "Retain Truth Ratio",
    "ra_Truth_Ratio": "Real Authors Truth Ratio",
    "wf_Truth_Ratio": "Real World Truth Ratio",
    "forget_Q_A_ROUGE": "Forget ROUGE",
    "retain_Q_A_ROUGE": "Retain ROUGE",
    "ra_Q_A_ROUGE": "Real Authors ROUGE",
    "wf_Q_A_ROUGE": "Real World ROUGE",
    "model_utility": "Model Utility",
}


def as_lists(log):
    """The same log as TOFU's first code wrote it."""
    return {
        file: {column: list(items.values()) for column, items in part.items()} for file, part in deepcopy(log).items()
    }


@pytest.fixture(params=["item numbers", "lists", "items in another order"])
def tofu(request, tmp_path):
    held = golden("tofu")
    for name in ("log", "retained"):
        log = held[name]
        if request.param == "lists":
            log = as_lists(log)
        elif request.param != "item numbers":
            for part in log.values():
                part["average_perturb_loss"] = dict(reversed(part["average_perturb_loss"].items()))
        (tmp_path / f"{name}.json").write_text(json.dumps(log))
        held[name] = read_log(tmp_path / f"{name}.json")
    return held


def test_every_aggregate_of_tofus_own_code(tofu):
    found = {item.name: item for item in recompute(tofu["log"], tofu["retained"])}
    for ours, theirs in AGGREGATES.items():
        assert found[ours].value == pytest.approx(tofu["utils"][theirs], rel=1e-9), ours
    assert found["forget_quality"].value == pytest.approx(tofu["forget_quality"], rel=SAME)
    assert found["forget_quality"].note == GEOMETRIC
    assert "geometric, as in its aggregate_eval_stat.py: " in found["model_utility"].note


def test_the_other_mean_of_tofus_code_stands_in_the_note(tofu):
    found = {item.name: item for item in recompute(tofu["log"])}
    others = {"forget_truth_ratio": "Truth Ratio Forget", "wf_Truth_Ratio": "Truth Ratio Real World"}
    for ours, theirs in {**others, "model_utility": "Model Utility"}.items():
        said = float(found[ours].note.rsplit(" ", 1)[1])
        assert said == pytest.approx(tofu["aggregate_eval_stat"][theirs], rel=1e-3)
        assert said != pytest.approx(found[ours].value, rel=1e-3)  # the two means do differ here


def test_tofus_truth_ratios_once_more_in_numpy(tofu):
    """Mean probability of the wrong answers over that of the paraphrased right one; in forget quality the geometric mean."""
    held = golden("tofu")
    part = held["log"]["eval_log.json"]
    right = np.exp(-np.array([part["avg_paraphrased_loss"][str(i)] for i in range(6)]))
    wrong = np.exp(-np.array([part["average_perturb_loss"][str(i)] for i in range(6)]))
    found = {item.name: item.value for item in recompute(tofu["log"], tofu["retained"])}
    assert found["retain_Truth_Ratio"] == pytest.approx(np.maximum(0, 1 - wrong.mean(1) / right).mean(), rel=SAME)
    sides = []
    for name in ("log", "retained"):
        part = held[name]["eval_log_forget.json"]
        losses = np.array(
            [[part["avg_paraphrased_loss"][i], np.mean(part["average_perturb_loss"][i])] for i in "0123456"]
        )
        sides.append(np.exp(losses[:, 0] - losses[:, 1]))
    assert found["forget_quality"] == pytest.approx(stats.ks_2samp(*sides).pvalue, rel=SAME)


def test_a_collapsed_model_in_tofus_log(tmp_path):
    """Probabilities near 1e-11: what OpenUnlearning adds to denominators would make them another number."""
    part = {
        "avg_gt_loss": [25.0],
        "avg_paraphrased_loss": [25.0],
        "average_perturb_loss": [[26.0, 24.0]],
        "rougeL_recall": [0],
    }
    (tmp_path / "log.json").write_text(json.dumps({"eval_real_author_wo_options.json": part}))
    found = {item.name: item.value for item in recompute(read_log(tmp_path / "log.json"))}
    wrong = np.exp([-26.0, -24.0])
    assert found["ra_Q_A_Prob_normalised"] == pytest.approx(np.exp(-25) / (np.exp(-25) + wrong.sum()), rel=1e-9)
    assert utility.truth_ratio([-25.0], [[-26.0, -24.0]], "tofu").tolist() == pytest.approx([1.0])


def test_lists_of_different_lengths_are_refused(tmp_path):
    log = as_lists(golden("tofu")["log"])
    log["eval_log.json"]["average_perturb_loss"].pop()
    (tmp_path / "log.json").write_text(json.dumps(log))
    with pytest.raises(
        InputError, match=r"eval_log\.json differ in length \(6 of avg_gt_loss.*5 of average_perturb_loss"
    ):
        read_log(tmp_path / "log.json")


# -- open-unlearning's metrics


def test_truth_ratio_forget_quality_and_model_utility():
    held = golden("open_unlearning")
    wrong = [-np.array(row) for row in held["wrong"]]
    ratios = utility.truth_ratio(-np.array(held["right"]), wrong)
    assert ratios == pytest.approx(held["truth_ratio"], rel=SAME)
    assert utility.truth_on_forget(ratios) == pytest.approx(held["closer_to_1_better"], rel=SAME)
    assert utility.truth_on_utility(ratios) == pytest.approx(held["true_better"], rel=SAME)
    retained = utility.truth_ratio(
        -np.array(held["retained_right"]), [-np.array(row) for row in held["retained_wrong"]]
    )
    assert utility.forget_quality(ratios, retained) == pytest.approx(held["ks_test"], rel=SAME)
    chosen = utility.choice_probability(np.exp(-np.array(held["right"])), [np.exp(row) for row in wrong])
    assert chosen == pytest.approx(held["probability_w_options"], rel=SAME)
    nine = dict(zip(utility.NINE, held["nine"], strict=True))
    assert utility.model_utility(nine) == pytest.approx(held["hm_aggregate"], rel=SAME)


def test_privleak():
    for auc, retained, value in golden("open_unlearning")["privleak"]:
        assert privacy.privleak(auc, retained) == pytest.approx(value, rel=SAME)


def test_memorisation():
    """That code compares float32 means."""
    held = golden("open_unlearning")
    correct = [np.array(row, dtype=bool) for row in held["correct"]]
    assert utility.exact_memorization(correct) == pytest.approx(held["exact_memorization"], rel=1e-7)
    assert utility.extraction_strength(correct, "open-unlearning") == pytest.approx(
        held["extraction_strength"], rel=1e-7
    )
