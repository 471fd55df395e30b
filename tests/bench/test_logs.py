"""Evaluation logs as every version of OpenUnlearning and the TOFU repository write them, with values worked out by hand."""

import json
import math

import pytest

from leakatk.bench.logs import read_log, recompute
from leakatk.errors import InputError

GUARD = 1e-9  # what the published code's 1e-10 in denominators may do to these values


def metric(items, agg=None):
    return {"agg_value": agg, "value_by_index": {str(i): item for i, item in enumerate(items)}}


def scores(*values, agg=None):
    return metric([{"score": value} for value in values], agg)


def attack(forget, holdout, agg=None):
    return {"forget": scores(*forget), "holdout": scores(*holdout), "auc": agg, "agg_value": agg}


def losses(*values):
    """Items with one or several answers, each with its mean loss."""
    rows = [value if isinstance(value, list) else [value] for value in values]
    probs = [[math.exp(-loss) for loss in row] for row in rows]
    items = [{"avg_loss": row, "prob": prob} for row, prob in zip(rows, probs, strict=True)]
    single = [
        {key: held[0] for key, held in item.items()} if not isinstance(value, list) else item
        for item, value in zip(items, values, strict=True)
    ]
    return metric(single)


def text(truth, said):
    return {"input": "Where?", "ground_truth": truth, "generation": said}


def found(log, retained=None):
    return {item.name: item for item in recompute(log, retained)}


HALF, TENTH, FIFTH = math.log(2), math.log(10), math.log(5)


def test_truth_ratios_by_hand():
    """Right answers of probability .5; wrong ones .1 and .4 (geometric mean .2), and .5: ratios .4 and 1."""
    log = {
        "forget_Q_A_PARA_Prob": losses(HALF, HALF),
        "forget_Q_A_PERT_Prob": losses([TENTH, FIFTH - HALF], [HALF]),
        "ra_Q_A_Prob": losses(HALF),
        "ra_Q_A_PERT_Prob": losses([TENTH, FIFTH - HALF]),
        "forget_truth_ratio": {"agg_value": 0.7},
        "ra_Truth_Ratio": {"agg_value": 0.6},
    }
    got = found(log)
    assert got["forget_truth_ratio"].value == pytest.approx((0.4 + 1) / 2, abs=GUARD)
    assert got["ra_Truth_Ratio"].value == pytest.approx(0.6, abs=GUARD)
    assert got["ra_Q_A_Prob_normalised"].value == pytest.approx(0.5 / (0.5 + 0.1 + 0.4), abs=GUARD)
    assert got["forget_Q_A_PERT_Prob"].value == pytest.approx(
        (0.25 + 0.5) / 2
    )  # the mean over answers, then over items
    assert not any(item.note for item in got.values())


def test_truth_ratios_that_the_log_has_and_nothing_else():
    """A retained log may hold these scores alone: forget quality needs no more. Both spellings of the name occur."""
    log = {"forget_truth_ratio": scores(0.5, 2.0, 4.0, agg=(0.5 + 0.5 + 0.25) / 3)}
    retained = {"forget_Truth_Ratio": scores(0.5, 2.0, 4.0)}
    got = found(log, retained)
    assert got["forget_truth_ratio"].value == pytest.approx(1.25 / 3, abs=GUARD)
    assert got["forget_quality"].value == 1.0
    apart = {"forget_truth_ratio": scores(*(10.0 + i for i in range(3)))}
    # Two samples of three that do not overlap: 2 of the 20 orders are as extreme.
    assert found(log, apart)["forget_quality"].value == pytest.approx(0.1)
    assert "forget_quality" not in found(log)
    lacking = found({**log, "forget_quality": {"agg_value": 0.5}})["forget_quality"]
    assert (math.isnan(lacking.value), lacking.stored, lacking.items) == (True, 0.5, 0)
    assert "retained model's log" in lacking.note


@pytest.mark.parametrize(
    ("agg", "note"),
    [(0.35, ""), ((0.5 + 0.8) / 2, "mean of max(0, 1 - r)"), (0.35 + 1e-3, "")],
)
def test_the_mean_that_the_log_took(agg, note):
    """Ratios .5 and .2; an aggregate that agrees with another published mean is recomputed as that one, and noted."""
    item = found({"forget_truth_ratio": scores(0.5, 0.2, agg=agg)})["forget_truth_ratio"]
    assert item.note == note
    assert item.value == pytest.approx(0.65 if note else 0.35, abs=GUARD)


def test_the_plain_mean_of_ratios():
    item = found({"forget_truth_ratio": scores(0.5, 3.0, agg=1.75)})["forget_truth_ratio"]
    assert (item.value, item.note) == (1.75, "mean of r")


def test_rouge_variants():
    """Two of five words, in the wrong order: one counts for ROUGE-L, both for ROUGE-1."""
    items = [text("It was seen in Zorvik", "Zorvik in")]
    for agg, value, note in (
        (None, 0.2, ""), (0.2, 0.2, ""), (0.4, 0.4, "rouge1_recall"), (2 / 7, 2 / 7, "rougeL_f1"), (0.9, 0.2, "")
    ):  # fmt: skip
        item = found({"forget_Q_A_ROUGE": metric(items, agg)})["forget_Q_A_ROUGE"]
        assert (item.value, item.note, item.items) == (pytest.approx(value), note, 1)
    assert found({"retain_knowmem_ROUGE": metric(items)})["retain_knowmem_ROUGE"].value == pytest.approx(2 / 7)


def test_rouge_of_several_answers_an_item():
    items = [{"ground_truth": ["a b", "a c"], "generation": ["a b", "b"], "rougeL_recall": [1.0, 0.0]}, text("a", "a")]
    got = found({"forget_Q_A_PERT_ROUGE": metric(items, 0.75)})["forget_Q_A_PERT_ROUGE"]
    assert (got.value, got.items) == (0.75, 2)
    items[0]["generation"].pop()
    with pytest.raises(InputError, match="2 ground truths but 1 generations"):
        recompute({"forget_Q_A_PERT_ROUGE": metric(items)})


def test_rouge_without_its_texts():
    items = [{"rougeL_recall": 0.25, "rougeL_f1": 0.5}, {"rougeL_recall": 0.75, "rougeL_f1": 0.1}]
    assert found({"forget_Q_A_ROUGE": metric(items)})["forget_Q_A_ROUGE"].value == 0.5
    assert found({"forget_verbmem_ROUGE": metric(items)})["forget_verbmem_ROUGE"].value == pytest.approx(0.3)


def test_model_utility_and_what_it_needs():
    """Harmonic mean of probability, ROUGE and truth ratio of three sets; left out when one of the nine is not there."""
    right, wrong = losses(HALF), losses([HALF])
    log = {"retain_Q_A_Prob": right, "retain_Q_A_PARA_Prob": right, "retain_Q_A_PERT_Prob": losses([2 * HALF])}
    for split in ("ra", "wf"):
        log |= {f"{split}_Q_A_Prob": right, f"{split}_Q_A_PERT_Prob": wrong}  # normalised: .5; ratio 1, so 0 of 1
        log |= {f"{split}_Truth_Ratio": scores(0.5)}
    for split in ("retain", "ra", "wf"):
        log |= {f"{split}_Q_A_ROUGE": metric([text("a b", "a")])}
    assert found(log)["model_utility"].value == pytest.approx(0, abs=1e-8)  # the truth ratio of ra and wf is 1
    for split in ("ra", "wf"):
        log[f"{split}_Q_A_PERT_Prob"] = losses([2 * HALF])  # normalised .5 / .75; ratio .5
    nine = [0.5, 0.5, 0.5, 2 / 3, 0.5, 0.5, 2 / 3, 0.5, 0.5]
    assert found(log)["model_utility"].value == pytest.approx(9 / sum(1 / value for value in nine), abs=GUARD)
    log["ra_truth_ratio"] = log.pop("ra_Truth_Ratio")  # another spelling
    assert found(log)["model_utility"].value == pytest.approx(9 / sum(1 / value for value in nine), abs=GUARD)
    del log["wf_Q_A_ROUGE"]
    assert "model_utility" not in found(log)


def test_attacks_of_any_name_and_the_privleak_of_both_ages():
    """Members 1 and 2 against 1.5 and 3: three of four pairs in order."""
    members, others = (1.0, 2.0), (1.5, 3.0)
    for name in (
        "mia_min_k",
        "mia_min_k_plus_plus",
        "mia_gradnorm",
        "mia_reference",
        "mia_zlib",
        "mia_auc",
        "mia_recall",
    ):
        assert found({name: attack(members, others, 0.75)})[name].value == 0.75
    new = found({"mia_min_k": attack(members, others)})["privleak"]
    assert (new.value, new.note) == (pytest.approx(-50), "against an AUC of .5")
    first = {"forget_minKpc_neg_logprob": scores(*members), "holdout_minKpc_neg_logprob": scores(*others)}
    for item in first.values():
        del item["agg_value"]  # these two had none
    assert found({**first, "privleak": {"auc": 0.25, "agg_value": -50.0}})["privleak"].value == pytest.approx(-50)
    retained = {"mia_min_k": attack((1.0, 4.0), (2.0, 3.0))}  # .5
    against = found(first, retained)["privleak"]
    assert (against.value, against.note) == (pytest.approx(-50), "")
    aware = found({"mia_min_k": attack(members, others)}, {"mia_min_k": {"agg_value": 0.9}})["privleak"]
    assert aware.value == pytest.approx(100 * (0.25 - 0.1) / 0.1)
    lacking = found({"mia_min_k": attack(members, others)}, {"model_utility": {"agg_value": 0.6}})["privleak"]
    assert "the retained log has no Min-K% attack" in lacking.note


def test_ties_count_half():
    assert found({"mia_loss": attack((1.0, 1.0), (1.0, 2.0))})["mia_loss"].value == 0.75


def test_what_no_item_has_a_value_for_is_left_out():
    log = {
        "exact_memorization": scores(None, 0.5, None),
        "extraction_strength": scores(None, None),
        "forget_Q_A_Prob": metric([None, {"prob": 0.25, "avg_loss": None}]),
        "mia_loss": {"agg_value": 0.5, "forget": {}, "holdout": None},
        "forget_quality": {"agg_value": None},
        "forget_Q_A_ROUGE": {"agg_value": 0.1, "value_by_index": {}},
        "model_utility": {},
    }
    got = found(log)
    assert set(got) == {"exact_memorization", "forget_Q_A_Prob"}
    assert (got["exact_memorization"].value, got["exact_memorization"].items) == (0.5, 1)
    assert got["forget_Q_A_Prob"].value == 0.25


def test_metrics_of_other_names_and_splits():
    """What a configuration of one's own adds is averaged; what cannot be read is shown as such and stops nothing."""
    log = {
        "forget_Q_A_gibberish": metric([{"score": 0.2, "generation": "a"}, {"score": 0.4, "generation": "b"}], 0.3),
        "holdout_Q_A_Prob": losses(HALF, HALF),
        "retain_extraction_strength": scores(0.5, 1.0, agg=0.75),
        "own": metric([{"score": "high"}], 1.0),
        "config": "a text",
        "seed": 3,
    }
    got = found(log)
    assert {name: item.value for name, item in got.items() if name != "own"} == {
        "forget_Q_A_gibberish": pytest.approx(0.3),
        "holdout_Q_A_Prob": pytest.approx(0.5),
        "retain_extraction_strength": 0.75,
    }
    assert math.isnan(got["own"].value)
    assert "item 0: score makes no sense" in got["own"].note


def test_a_collapsed_model(tmp_path):
    """Infinite losses are zero probability; a value that is no number makes the aggregate none, as in the published code."""
    log = {
        "forget_Q_A_Prob": metric([{"prob": 0.0, "avg_loss": math.inf}, {"prob": 0.5, "avg_loss": HALF}]),
        "forget_Q_A_PARA_Prob": losses(HALF, HALF),
        "forget_Q_A_PERT_Prob": metric([{"avg_loss": [math.inf, 1.0], "prob": [0, 0.4]}] * 2),
        "mia_gradnorm": attack((math.nan, 1.0), (2.0, 3.0)),
        "mia_loss": attack((math.inf, 1.0), (2.0, 3.0)),
        "exact_memorization": scores(math.nan, 1.0),
    }
    (tmp_path / "TOFU_EVAL.json").write_text(json.dumps(log))
    got = found(read_log(tmp_path / "TOFU_EVAL.json"))
    assert got["forget_Q_A_Prob"].value == 0.25
    assert got["forget_truth_ratio"].value == 0
    assert got["mia_loss"].value == 0.5
    assert math.isnan(got["mia_gradnorm"].value)
    assert math.isnan(got["exact_memorization"].value)


def test_a_summary(tmp_path):
    """Aggregates alone: PrivLeak can be made again, the rest cannot."""
    (tmp_path / "TOFU_SUMMARY.json").write_text('{"mia_min_k": 0.75, "privleak": -50.0, "model_utility": 0.6}')
    summary = read_log(tmp_path / "TOFU_SUMMARY.json")
    leak, utility = recompute(summary)
    assert (leak.name, leak.value, leak.stored) == ("privleak", pytest.approx(-50), -50)
    assert (utility.name, math.isnan(utility.value), utility.stored) == ("model_utility", True, 0.6)
    assert utility.note == "needs probability, ROUGE and truth ratio of retain, ra and wf"
    (tmp_path / "TOFU_SUMMARY.json").write_text('{"model_utility": 0.6}')
    with pytest.raises(InputError, match=r"give the EVAL\.json beside it"):
        recompute(read_log(tmp_path / "TOFU_SUMMARY.json"))


def test_the_log_of_the_tofu_repository(tmp_path):
    """eval_log_aggregated.json: a column a statistic, an item number each; no aggregate is in it."""

    def part(right, para, wrong):
        return {
            "avg_gt_loss": {"0": right}, "gt_loss": {"0": 9.0}, "avg_paraphrased_loss": {"0": para},
            "average_perturb_loss": {"0": wrong}, "rougeL_recall": {"0": 0.5}, "rouge1_recall": {"0": 0.7},
            "generated_text": {"0": ["q", "said", "truth"]},
        }  # fmt: skip

    log = {
        "eval_log_forget.json": part(HALF, HALF, [TENTH, FIFTH - HALF]),
        "eval_log.json": part(HALF, HALF, [TENTH, FIFTH - HALF]),
        "eval_real_author_wo_options.json": part(HALF, HALF, [TENTH, FIFTH - HALF]),
        "eval_real_world_wo_options.json": part(HALF, 0.0, [HALF]),
    }
    path = tmp_path / "eval_log_aggregated.json"
    path.write_text(json.dumps(log))
    got = found(read_log(path), read_log(path))
    wanted = {
        "forget_Q_A_Prob": 0.5, "retain_Q_A_Prob": 0.5, "forget_Q_A_ROUGE": 0.5, "ra_Q_A_Prob_normalised": 0.5,
        "forget_truth_ratio": 0.5, "retain_Truth_Ratio": 0.5, "ra_Truth_Ratio": 0.5,  # wrong answers: (.1 + .4) / 2, over .5
        "wf_Truth_Ratio": 0.5,  # against the paraphrase, as that code does, not against the answer
        "forget_quality": 1.0,
    }  # fmt: skip
    for name, value in wanted.items():
        assert got[name].value == pytest.approx(value, abs=GUARD), name
    nine = [0.5] * 9
    assert got["model_utility"].value == pytest.approx(9 / sum(1 / value for value in nine), abs=GUARD)
    path.write_text(json.dumps(log["eval_log_forget.json"]))
    with pytest.raises(InputError, match=r"one part of a TOFU evaluation; give the eval_log_aggregated\.json"):
        read_log(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "found nothing"),
        ("[1]", "found list"),
        ('"text"', "found str"),
        ('{"mmlu": [{"doc_id": 0}]}', "found mmlu"),
        ('{"mmlu/acc": 0.3}', "found mmlu/acc"),
        ('{"forget_Q_A_Prob": {"agg_value": 0.1, "value_by_index": [0.1]}}', "must map item numbers"),
        ('{"forget_Q_A_Prob": {"agg_value": 0.1, "value_by_index": {"0": 0.1}}}', "item 0"),
        (
            '{"forget_Q_A_Prob": {"agg_value": 0.1, "value_by_index": {"0": {"prob": "0.1"}}}}',
            "item 0: prob makes no sense",
        ),
        ('{"forget_Q_A_Prob": {"agg_value": 0.1', "is it cut short"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(leakatk, tmp_path, content, words):
    path = tmp_path / "TOFU_EVAL.json"
    path.write_text(content)
    code, out, err = leakatk("recompute", path)
    assert (code, out) == (2, "")
    assert words in err
    assert err.strip().count("\n") <= 3
    assert "Traceback" not in err


def test_command_line(leakatk, tmp_path):
    path = tmp_path / "MUSE_EVAL.json"
    path.write_text(json.dumps({"mia_min_k": attack((1.0, 2.0), (1.5, 3.0), 0.75), "exact_memorization": scores(0.5)}))
    code, out, err = leakatk("recompute", path, "--style", "csv")
    assert code == 0, err
    assert out.splitlines()[0] == "metric,recomputed,in the log,items,note"
    assert "mia_min_k,0.75,0.75,4," in out
    code, _, err = leakatk("recompute", tmp_path)
    assert (code, "is a directory" in err) == (2, True)
