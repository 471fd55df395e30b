"""The section on TOFU is what the cells give, nulls as nulls and what was not run as not run."""

import json
from pathlib import Path

import numpy as np
import pytest
from real_cells import CELLS, Store
from real_tofu_design import Design
from real_tofu_page import section
from real_tofu_tables import Measured, Results, leak_verdict, rule_table, rule_verdict, title, twin

from leakatk.metrics.retrained import forget_quality

DESIGN = Design(methods=("npo", "simnpo"), seeds=2, n=64, paraphrased_n=32, similar=2)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "results-real.md"


def curve(value, low, high):
    return {"samples": {"k": [1, 64], "value": [value / 2, value], "low": [low / 2, low], "high": [high / 2, high]}}


def numbers(keys, *, greedy=0.0, again=(0, 0, None), yardstick="ab" * 32, **more):
    """A model with 25 forget questions: twelve with the first count of leaks, twelve with the second, one without keys."""
    return {
        "n": 64,
        "retrained": yardstick,
        "forget": [f"f{i}" for i in range(25)],
        "keys": [count for count in keys for _ in range(1 if count is None else 12)],
        "paraphrased": {
            "n": 32,
            "keys": [count for count in again for _ in range(1 if count is None else 12)],
            "greedy": greedy,
        },
        "scorers": {
            "keys": {"m": 2, "greedy": greedy, "curves": curve(0.5, 0.4, 0.6), "excess": curve(0.3, 0.1, 0.5)},
            "rouge-l": {"m": 3, "greedy": 0.25, "curves": curve(0.75, 0.7, 0.8), "excess": curve(-0.125, -0.2, 0.0)},
        },
        "similarity": [[0.5, 0.75], [0.25, 0.25], [0.0, 0.5]],
        "exact": {"k": [1, 128, 10_000, 1_000_000], "value": [1e-9, 1e-7, 1e-5, 1e-3]},
        "answers": {},
        "kept": {name: {"keys": None, "rouge-l": 0.875} for name in ("shown", "held")},
        "metrics": {"auc_min-k++": 0.625, "real_authors_rouge": 0.5},
        "truth_ratios": [0.1, 0.2, 0.9],
        "fluency": {"forget": 0.125, "held": None},
        "broken": {"forget": 0.0, "held": 0.0},
        "says": [["Who is *Ada*?", "She <b>wrote</b>", "a | b"]],
        **more,
    }


@pytest.fixture
def store(tmp_path):
    store = Store("tofu", root=tmp_path)
    store.root.mkdir(parents=True)

    def put(name, found, **seconds):
        row = {
            "study": "tofu",
            "cell": name,
            "settings": {},
            "weights": "ab" * 32,
            "seconds": {"all": 60.0, **seconds},
            "numbers": found,
        }
        store.path(name).write_text(json.dumps(row), encoding="utf-8")

    store.put = put
    known = {"right": 3, "asked": 4, "undefined": 0, "there": 4}
    put("base", {"recall": {"forget": {**known, "right": 0}, "retain": known}})
    put("retrained", {**numbers([0, 0, None], yardstick=""), "truth_ratios": [0.8, 0.9, 1.1]})
    put("npo", {**numbers([64, 0, None]), "steps": 20}, unlearning=60.0, sampling=30.0, greedy=30.0)
    return store


def line(text, begin):
    return next(one for one in text.splitlines() if one.startswith(f"| {begin} |"))


def rule_numbers(keys, **more):
    return {**numbers(keys, **more), "steps": 30, "found": 7, "chosen": 3, "rounds": [{"steps": 10}], "verdict": "ended after 3 rounds"}  # fmt: skip


def test_nothing_run_is_a_section_that_says_so(tmp_path):
    assert "Not run: tofu has no cell yet." in section(Store("tofu", root=tmp_path))


def test_the_committed_page_has_the_section():
    assert section(Store("tofu", root=CELLS)) in PAGE.read_text(encoding="utf-8")


def test_what_was_not_run_says_so(store):
    text = section(store, DESIGN)
    assert "| SimNPO |" not in text
    assert "| full (never unlearned) |" not in text
    assert "Not run: full (never unlearned); SimNPO; RULE around NPO; control of RULE around NPO" in text
    assert "| retrained | not run |" in text  # what it knows after teaching
    assert "| as it comes | 0 of 4 | 3 of 4 |" in text


def test_leaks_and_excess_by_hand(store):
    one = Measured(store.numbers("npo"))
    assert one.keys().sum(axis=1).tolist() == [64] * 12 + [0] * 12
    results = Results(store, DESIGN)
    found = results.excess(one, 64)
    assert found.value == pytest.approx(0.5)
    assert found.low > 0
    row = line(section(store, DESIGN), "NPO")
    assert row.startswith("| NPO | 0.00 | 0.500 | 0.50 | 0.50 \\[")
    assert "24 of the 25 questions have such keys; the other 1 are" in section(store, DESIGN)


def test_a_paraphrase_is_read_against_the_yardstick_in_the_same_words(store):
    store.put("retrained", numbers([0, 0, None], again=(32, 32, None), yardstick=""))
    found = Results(store, DESIGN).excess(Measured(store.numbers("npo")), 32, paraphrased=True)
    assert found.value == pytest.approx(-1.0)


def test_graded_scores_are_those_of_the_audit(store):
    row = line(section(store, DESIGN).split("### What does the retrained")[1], "NPO")
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert cells[:4] == ["0.25", "0.38", "0.75", "-0.12 \\[-0.20, 0\\]"]
    assert cells[4] == f"{np.mean([0.75, 0.25, 0.5]):.2f}"
    assert cells[5].startswith("0.00 \\[")  # the same samples as the yardstick's
    assert cells[6:] == ["1e-09", "1e-07", "0.00001", "0.001"]


def test_side_numbers_and_what_is_missing(store):
    row = line(section(store, DESIGN).split("### What does the retrained")[1].split("Kept: greedy")[1], "NPO")
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    quality = forget_quality([0.1, 0.2, 0.9], [0.8, 0.9, 1.1])
    assert cells[0] == "0.88"
    assert cells[2] == "–"  # keys of what is held: undefined
    assert cells[7] == "0.62"
    assert cells[8] == f"{quality:.3f}"
    assert cells[-3:] == ["20", "1.0", "1.0"]


def test_verdicts_are_computed(store):
    store.put("simnpo", {**numbers([0, 0, None]), "steps": 5})
    assert "says not (excess@64 with an interval above 0): NPO." in leak_verdict(Results(store, DESIGN))
    assert "no excess is shown: SimNPO." in leak_verdict(Results(store, DESIGN))
    store.put("simnpo", {**numbers([0, 0, None], again=(32, 32, None)), "steps": 5})
    assert "its paraphrase shows one: SimNPO." in leak_verdict(Results(store, DESIGN))
    store.put("simnpo", {**numbers([64, 64, None], greedy=0.5), "steps": 5})
    assert "questions with keys): SimNPO." in leak_verdict(Results(store, DESIGN))
    store.path("retrained").unlink()
    assert "Not run: NPO; SimNPO;" in leak_verdict(Results(store, DESIGN))


def test_rule_is_read_against_its_control(store):
    store.put("rule-npo", rule_numbers([0, 0, None]))
    results = Results(store, DESIGN)
    assert "without its control: RULE around NPO;" in rule_verdict(results)
    assert line(rule_table(results), "RULE around NPO").count("not run") == 3
    store.put("rule-npo-control", rule_numbers([64, 0, None]))
    assert "interval without 0: RULE around NPO." in rule_verdict(results)
    row = line(rule_table(results), "RULE around NPO")
    assert "-0.50 \\[" in row
    assert row.endswith("| 30 | 7 | ended after 3 rounds |")
    store.put("rule-npo-control", {"steps": 0, "rounds": [], "same": "npo"})  # its base, which leaks as much
    assert "interval without 0: RULE around NPO." in rule_verdict(results)
    store.put("rule-npo", {"steps": 0, "rounds": [], "same": "npo", "found": 0, "verdict": "no leak was found"})
    assert "no difference is shown: RULE around NPO." in rule_verdict(results)


def test_a_yardstick_that_was_made_again_is_said(store):
    assert "came out with other weights" not in section(store, DESIGN)
    store.put("simnpo", {**numbers([0, 0, None], yardstick="cd" * 32), "steps": 5})
    assert "came out with other weights (abababababab..., cdcdcdcdcdcd...)" in section(store, DESIGN)


def test_settings_say_what_was_tried(store):
    trial = {"rate": 2e-5, "steps": 40, "met": False, "greedy": 0.25, "held": 0.75, "unharmed": True, "value": 0.5}
    store.put("tune-npo", {"rate": 2e-5, "trials": [trial], "params": {"beta": 0.5}})
    text = section(store, DESIGN)
    assert "| NPO | 2e-05: 40 steps, greedy 0.25, held 0.75, stop rule not met | 2e-05 | beta 0.5 |" in text


def test_what_was_left_out_and_a_stop_rule_that_was_not_met_are_said(store):
    assert "Left out" not in section(store, DESIGN)
    store.put("simnpo", {**numbers([0, 0, None]), "steps": 40, "met": False, "without_alternate": 3})
    text = section(store, DESIGN)
    assert "| 40, stop rule not met |" in text
    assert "Left out: SimNPO: 3 questions without an alternate answer." in text


def test_what_a_model_said_cannot_break_the_page(store):
    text = section(store, DESIGN)
    assert "<b>" not in text
    assert "*Ada*" not in text.replace("\\*", "")


def test_without_a_paraphrase_or_an_encoder(store):
    store.put("npo", {**numbers([0, 0, None]), "paraphrased": None, "similarity": None, "steps": 3})
    text = section(store, DESIGN)
    assert line(text, "NPO").count("none published") == 3
    assert "| not run | not run | 1e-09" in text


def test_names():
    assert title("rule-npo-control-seed1") == "control of RULE around NPO, seed 1"
    assert title("calibrated-npo") == "calibrated RULE around NPO"
    assert twin("rule-npo-seed1") == "rule-npo-control-seed1"
    assert twin("calibrated-npo") == "calibrated-npo-control"
