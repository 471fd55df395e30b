"""Every aggregate of two published OpenUnlearning evaluation logs, recomputed from their per-item values."""

import json
from copy import deepcopy

import numpy as np
import pytest

from leakatk.bench.logs import ratios, read_log, recompute
from leakatk.errors import InputError
from leakatk.metrics import privacy, utility
from leakatk.prompts import Prompt
from leakatk.scorers.base import get_scorer

EXACT = 1e-9
MODELS = ("full_forget10", "retain90")


@pytest.fixture(scope="module")
def logs(data_dir):
    folder = data_dir / "logs" / "open_unlearning"
    return {name: json.loads((folder / f"tofu_1B_{name}_EVAL.json").read_text()) for name in MODELS}


def column(metric, key):
    items = metric["value_by_index"]
    return [items[i][key] for i in sorted(items, key=int)]


def test_every_aggregate(logs):
    """The whole log at once, as `leakatk recompute` does it."""
    full, retained = (logs[model] for model in MODELS)
    for log, other, lacking in ((full, retained, set()), (retained, None, {"forget_quality"})):
        found = {item.name: item for item in recompute(log, other)}
        for item in found.values():
            assert item.value == pytest.approx(item.stored, abs=EXACT), item.name
            assert item.note in ("", "against an AUC of .5")
        assert set(log) - lacking == set(found)


def test_a_log_with_less_in_it(logs):
    log = {name: logs["retain90"][name] for name in ("forget_truth_ratio", "mia_loss", "exact_memorization")}
    for item in recompute(log):
        assert item.value == pytest.approx(item.stored, abs=EXACT), item.name
    assert {item.name for item in recompute(log)} == set(log)


def test_a_log_whose_values_make_no_sense(logs):
    stored = logs["retain90"]["mia_loss"]
    log = {"mia_loss": {**stored, "forget": {"value_by_index": {"0": {"score": "high"}}}}}
    with pytest.raises(InputError, match="mia_loss"):
        recompute(log)


def cut(log, items):
    """The same log with the first `items` items of everything."""
    if not isinstance(log, dict):
        return log
    return {
        key: deepcopy(dict(list(value.items())[:items])) if key == "value_by_index" else cut(value, items)
        for key, value in log.items()
    }


def test_items_without_a_value_are_left_out_and_counted(logs):
    log = cut(logs["retain90"], 30)
    log["forget_Q_A_Prob"]["value_by_index"]["3"] = {"prob": None, "avg_loss": None}
    log["forget_Q_A_ROUGE"]["value_by_index"]["4"]["generation"] = None
    found = {item.name: item for item in recompute(log)}
    left = [column["prob"] for i, column in log["forget_Q_A_Prob"]["value_by_index"].items() if i != "3"]
    assert (found["forget_Q_A_Prob"].items, found["forget_Q_A_ROUGE"].items) == (29, 29)
    assert found["forget_Q_A_Prob"].value == pytest.approx(np.mean(left), abs=EXACT)
    assert found["mia_loss"].items == 60


def test_items_are_paired_by_number(logs):
    """Right answers lack item 2, wrong ones item 5: the truth ratios of the other 28 are what they were."""
    log = cut(logs["retain90"], 30)
    whole = ratios(log, "forget")
    del log["forget_Q_A_PARA_Prob"]["value_by_index"]["2"]
    del log["forget_Q_A_PERT_Prob"]["value_by_index"]["5"]
    np.testing.assert_allclose(ratios(log, "forget"), np.delete(whole, [2, 5]))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("ra_Q_A_Prob", "value_by_index", "7", "prob"), "high", "ra_Q_A_Prob of the log, item 7: prob makes no sense"),
        (("wf_Q_A_PERT_Prob", "value_by_index", "1", "avg_loss"), [1.0, None], "wf_Q_A_PERT_Prob of the log, item 1"),
        (("forget_Q_A_ROUGE", "value_by_index", "0", "generation"), 3, "forget_Q_A_ROUGE of the log, item 0"),
        (("exact_memorization", "value_by_index"), [1, 2], "must map item numbers to values"),
    ],
)
def test_a_wrong_value_is_named(logs, path, value, words):
    log = cut(logs["retain90"], 10)
    place = log
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(InputError, match=words):
        recompute(log)


def test_a_retained_log_that_lacks_what_is_needed(logs):
    other = {"model_utility": {"agg_value": 0.6}}
    with pytest.raises(InputError, match="retained model lacks forget_truth_ratio"):
        recompute(cut(logs["full_forget10"], 10), other)


def test_a_muse_log():
    """The same layout with MUSE's metrics, F1 in place of recall."""
    texts = [("It was seen in Zorvik.", "in Zorvik"), ("Ada wrote it.", "nobody knows")]
    items = {str(i): {"ground_truth": truth, "generation": said} for i, (truth, said) in enumerate(texts)}
    attack = {
        "agg_value": 0.75, "auc": 0.75, "forget": {"value_by_index": {"0": {"score": 1.0}, "1": {"score": 2.0}}},
        "holdout": {"value_by_index": {"0": {"score": 1.5}, "1": {"score": 3.0}}},
    }  # fmt: skip
    log = {
        "forget_knowmem_ROUGE": {"agg_value": 0.29, "value_by_index": items},
        "mia_min_k": attack,
        "privleak": {"agg_value": -50},
    }
    found = {item.name: item for item in recompute(log)}
    assert found["forget_knowmem_ROUGE"].value == pytest.approx((2 * 1 * 0.4 / 1.4) / 2)
    assert found["mia_min_k"].value == 0.75
    assert found["privleak"].value == pytest.approx(-50)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_log_cut_short(data_dir, tmp_path, share):
    content = (data_dir / "logs" / "open_unlearning" / "tofu_1B_retain90_EVAL.json").read_bytes()
    (tmp_path / "x.json").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="cut short"):
        read_log(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("text", "words"), [("{", "not valid JSON"), ("[]", "no OpenUnlearning"), ('{"a": 1}', "no metric")]
)
def test_no_log(tmp_path, text, words):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=words):
        read_log(tmp_path / "x.json")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("split", ["forget", "retain", "ra", "wf"])
def test_truth_ratio(logs, model, split):
    stored = logs[model]["forget_truth_ratio" if split == "forget" else f"{split}_Truth_Ratio"]
    found = ratios(logs[model], split)
    np.testing.assert_allclose(found, column(stored, "score"), rtol=EXACT)
    total = utility.truth_on_forget(found) if split == "forget" else utility.truth_on_utility(found)
    assert total == pytest.approx(stored["agg_value"], abs=EXACT)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("split", ["forget", "retain", "ra", "wf"])
def test_probability(logs, model, split):
    stored = logs[model][f"{split}_Q_A_Prob"]
    found = utility.probability(-np.array(column(stored, "avg_loss")))
    np.testing.assert_allclose(found, column(stored, "prob"), atol=1e-6)  # the log exponentiated in bfloat or float32
    assert np.mean(column(stored, "prob")) == pytest.approx(stored["agg_value"], abs=EXACT)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("split", ["ra", "wf"])
def test_choice_probability(logs, model, split):
    log = logs[model]
    right, wrong = column(log[f"{split}_Q_A_Prob"], "prob"), column(log[f"{split}_Q_A_PERT_Prob"], "prob")
    stored = log[f"{split}_Q_A_Prob_normalised"]
    found = utility.choice_probability(right, wrong)
    np.testing.assert_allclose(found, column(stored, "prob"), rtol=EXACT)
    assert found.mean() == pytest.approx(stored["agg_value"], abs=EXACT)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("split", ["forget", "retain", "ra", "wf"])
def test_rouge_of_the_stored_texts(logs, model, split):
    stored = logs[model][f"{split}_Q_A_ROUGE"]
    prompts = [Prompt(str(i), "?", truth) for i, truth in enumerate(column(stored, "ground_truth"))]
    texts = column(stored, "generation")
    for part, key in (("recall", "rougeL_recall"), ("f1", "rougeL_f1")):
        found = get_scorer(f"rouge-l:part={part}").score(prompts, texts)
        np.testing.assert_allclose(found, column(stored, key), atol=EXACT)
    recall = column(stored, "rougeL_recall")
    assert np.mean(recall) == pytest.approx(stored["agg_value"], abs=EXACT)


@pytest.mark.parametrize(
    ("model", "expected"), [("full_forget10", 0.5991534707368931), ("retain90", 0.5911246639353407)]
)
def test_model_utility(logs, model, expected):
    log = logs[model]
    nine = {}
    for ours, theirs in (("retain", "retain"), ("real_authors", "ra"), ("world_facts", "wf")):
        probability = "Q_A_Prob" if theirs == "retain" else "Q_A_Prob_normalised"
        nine[f"{ours}_prob"] = np.mean(column(log[f"{theirs}_{probability}"], "prob"))
        nine[f"{ours}_rouge"] = np.mean(column(log[f"{theirs}_Q_A_ROUGE"], "rougeL_recall"))
        nine[f"{ours}_truth"] = utility.truth_on_utility(ratios(log, theirs))
    assert utility.model_utility(nine) == pytest.approx(expected, abs=EXACT)
    assert log["model_utility"]["agg_value"] == pytest.approx(expected, abs=EXACT)


def test_forget_quality(logs):
    full, retrained = (ratios(logs[model], "forget") for model in MODELS)
    assert utility.forget_quality(full, retrained) == pytest.approx(3.9054713571083378e-22, rel=EXACT)
    assert utility.forget_quality(retrained, retrained) == 1.0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("metric", ["exact_memorization", "extraction_strength"])
def test_memorisation_aggregates(logs, model, metric):
    stored = logs[model][metric]
    assert np.mean(column(stored, "score")) == pytest.approx(stored["agg_value"], abs=EXACT)


def test_exact_memorisation_and_extraction_strength_agree_item_by_item(logs):
    """A stored pair (share right, strength) bounds each other: whoever completes 1 - k/T has at least that share right."""
    for log in logs.values():
        share, strength = (np.array(column(log[m], "score")) for m in ("exact_memorization", "extraction_strength"))
        assert (share >= strength - 1e-6)[strength > strength.min()].all()
        whole = strength == 1
        np.testing.assert_allclose(share[whole], 1, atol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_attack_auc(logs, model):
    attacks = [name for name in logs[model] if name.startswith("mia_")]
    assert len(attacks) >= 5
    for name in attacks:
        stored = logs[model][name]
        found = privacy.auc(column(stored["forget"], "score"), column(stored["holdout"], "score"))
        assert found == pytest.approx(stored["auc"], abs=EXACT), name


def test_loss_attack_is_the_stored_loss(logs):
    for log in logs.values():
        stored = column(log["mia_loss"]["forget"], "score")
        np.testing.assert_allclose(stored, column(log["forget_Q_A_Prob"], "avg_loss"), rtol=EXACT)


def test_zlib_attack(logs):
    """Stored zlib scores are the stored losses over the compressed size of the stored answers, in bytes."""
    for log in logs.values():
        losses = column(log["mia_loss"]["forget"], "score")
        answers = column(log["forget_Q_A_ROUGE"], "ground_truth")
        found = privacy.zlib_scores([[-loss] for loss in losses], answers)
        np.testing.assert_allclose(found, column(log["mia_zlib"]["forget"], "score"), rtol=1e-6)


def test_privleak(logs):
    aucs = {model: logs[model]["mia_min_k"]["auc"] for model in MODELS}
    assert privacy.privleak(aucs["full_forget10"], aucs["retain90"]) == pytest.approx(-99.45739100654656, abs=EXACT)
    # Without a retrained model of its own the retain model is compared with .5.
    assert privacy.privleak(aucs["retain90"]) == pytest.approx(23.477499995304495, abs=EXACT)
    for model in MODELS:
        assert logs[model]["privleak"]["agg_value"] == pytest.approx(
            privacy.privleak(aucs[model], aucs["retain90"] if model == MODELS[0] else 0.5), abs=EXACT
        )
