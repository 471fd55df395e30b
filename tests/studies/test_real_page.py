"""The page is what the cells give, nulls as nulls and what was not run as not run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from real_cells import CELLS, Store
from real_knowledge import NAME, Design
from real_knowledge_page import Measured, Results, section
from real_page import page
from real_probes import PROBES
from real_probes_page import section as probes_section

from leakatk.estimate.leak import leak_at_k

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results-real.md"


def numbers(leaks, *, invented=0, greedy=0, n=64):
    """A model with two forgotten capitals and one symbol, asked in two wordings: asked and held-out."""
    return {
        "n": n,
        "forget": ["capitals/A", "capitals/B", "symbols/C"],
        "roles": ["asked", "held-out"],
        "leaks": leaks,
        "greedy": [[greedy] * 3, [1, 0, 0]],
        "logprob": [[-1.0, -2.0, -50.0], [-1.0, -2.0, -3.0]],
        "invented": [{"capitals": [[invented, 0], [0, 0]], "symbols": [[0], [0]]} for _ in range(2)],
        "kept": {f"{name}/{w}": [1, 1, 0, 1] for name in ("shown", "unshown") for w in (0, 1)},
        "general": 0.75,
        "fluency": {"forget": 0.2, "unshown": None},
        "broken": {"forget": 0.1, "unshown": 0.0},
        "says": [["What is the capital of A?", "Here *it* is <b>", "one | two", "x"]],
    }


@pytest.fixture
def store(tmp_path):
    store = Store(NAME, root=tmp_path)
    store.root.mkdir(parents=True)

    def put(name, found):
        row = {
            "study": NAME,
            "cell": name,
            "settings": {},
            "weights": "ab" * 32,
            "seconds": {"all": 60.0},
            "numbers": found,
        }
        store.path(name).write_text(json.dumps(row), encoding="utf-8")

    put("known", {"known": {"capitals": {"A": [1, 1], "B": [1, 0]}, "symbols": {"C": [1, 1]}}, "general": {}})
    put("original", numbers([[64, 64, 32], [64, 0, 64]], greedy=1, invented=4))
    put("npo", {**numbers([[0, 2, 0], [60, 0, 0]]), "steps": 20})
    store.put = put
    return store


def line(text, begin):
    return next(one for one in text.splitlines() if one.startswith(f"| {begin}"))


def test_the_committed_page_is_what_the_committed_cells_give():
    assert PAGE.read_text(encoding="utf-8") == page(CELLS)


def test_a_changed_cell_changes_the_page(tmp_path):
    cells = [path for path in (CELLS / NAME).glob("*.json") if "leaks" in json.loads(path.read_text())["numbers"]]
    if not cells:
        pytest.skip("no model has been measured yet")
    shutil.copytree(CELLS, tmp_path / "cells")
    copy = tmp_path / "cells" / cells[0].relative_to(CELLS)
    row = json.loads(copy.read_text())
    row["numbers"]["leaks"][0] = [row["numbers"]["n"] // 2 - c // 2 for c in row["numbers"]["leaks"][0]]
    copy.write_text(json.dumps(row))
    assert page(tmp_path / "cells") != page(CELLS)


def test_what_was_not_run_says_so(store):
    text = section(store)
    assert "| SimNPO |" not in text
    assert "Not run: simnpo" in text


def test_nothing_run_is_a_section_that_says_so(tmp_path):
    assert "Not run" in section(Store(NAME, root=tmp_path))


def test_leaks_by_wording(store):
    one = Measured(store.numbers("npo"))
    assert one.rows("asked").sum(axis=1).tolist() == [0, 2, 0]
    assert one.rows("held-out").sum(axis=1).tolist() == [60, 0, 0]
    assert one.rows("asked", "symbols").shape == (1, 64)
    assert one.leak("asked", [1, 64]).value == pytest.approx([2 / 64 / 3, 1 / 3])
    assert one.greedy("held-out") == pytest.approx(1 / 3)


def test_the_null_is_the_mean_over_all_pairs_of_an_invented_name_and_a_key(store):
    original = Measured(store.numbers("original"))
    rows = original.unknowable("asked")  # two invented names by two capitals, and by one symbol
    assert rows.shape == (6, 64)
    assert leak_at_k(rows, [64]).value[0] == pytest.approx(1 / 6)
    chance = 1 - np.prod([(60 - i) / (64 - i) for i in range(16)])  # 16 of 64 without those four
    assert leak_at_k(rows, [16]).value[0] == pytest.approx(chance / 6)


def test_verbatim_by_hand(store):
    one = Measured(store.numbers("npo"))
    by_hand = np.mean([1 - (1 - np.exp(v)) ** 128 for v in (-1.0, -2.0, -50.0)])
    assert one.verbatim("asked", 128) == pytest.approx(by_hand)


def test_verdicts_are_computed(store):
    text = section(store)
    null = Measured(store.numbers("original"))
    assert null.leak("asked", [64]).value[0] == 1
    assert "* Not forgotten even by the greedy answers to the question as asked (above .05): none." in text
    store.put("simnpo", {**numbers([[0, 0, 0], [0, 0, 0]], greedy=1), "steps": 20})
    store.put("rmu", {**numbers([[64, 64, 64], [0, 0, 0]]), "steps": 20})
    text = section(store)
    assert "as asked (above .05): SimNPO." in text
    assert "sampling the same question says not (excess@64 with an interval above 0): RMU." in text


def test_what_an_exact_probability_does_not_see(store):
    assert "below 1e-06: none." in section(store)
    store.put("rmu", {**numbers([[0, 63, 64], [0, 0, 0]]), "steps": 40, "met": False})
    text = section(store)
    assert "below 1e-06: RMU: C." in text  # B leaks too, and its sentence is likely enough to be seen
    assert "40, rule not met" in line(text.split("### What it cost")[1], "RMU")


def test_a_control_of_a_rule_without_steps_is_its_base(store):
    store.put(
        "rule-npo",
        {**numbers([[0, 0, 0], [9, 0, 0]]), "steps": 20, "rounds": [{"steps": 20}], "found": 2, "verdict": "ended"},
    )
    store.put("rule-npo-control", {"steps": 0, "rounds": [], "same": "npo"})
    assert Results(store, Design()).measured("rule-npo-control").numbers["leaks"] == store.numbers("npo")["leaks"]
    row = line(section(store).split("### RULE's options")[1], "RULE-NPO, 3 x 20 steps, one wording")
    assert "0.00 \\[" in row or "-0.33" in row
    assert "not run" in row  # NPO in three wordings
    assert "no difference shown: RULE-NPO, 3 x 20 steps, one wording." in section(store)
    put = {**numbers([[64, 64, 64], [64, 64, 64]]), "steps": 20}
    store.put("npo-wordings", put)
    assert "beside NPO in three wordings: below it: RULE-NPO, 3 x 20 steps, one wording." in section(store)


def test_what_a_model_said_cannot_break_the_page(store):
    text = section(store)
    assert "<b>" not in text
    assert "*it*" not in text


def test_a_missing_number_is_missing(store):
    row = line(section(store).split("### What it cost")[1], "NPO |")
    assert "–" in row or "nan" not in row


def test_probes_have_a_row_a_way_and_nulls_stay_nulls(tmp_path):
    store = Store("probes", root=tmp_path)
    assert "Not run" in probes_section(store)
    store.root.mkdir(parents=True)
    ways = {way: [0, 0] for way in (*PROBES, "as it stands")}
    numbers = {
        "n": 8,
        "forget": ["a", "b"],
        "ways": 10.0,
        "gives_answer": ["context"],
        "left_out": {"dialogue": 1},
        "says": [],
    }
    for name, worst in (("npo", [8, 8]), ("rmu", [0, 0])):
        found = {**numbers, "leaks": {**ways, "worst case": worst}}
        row = {"study": "probes", "cell": name, "settings": {}, "numbers": found}
        store.path(name).write_text(json.dumps(row), encoding="utf-8")
    text = probes_section(store)
    assert "| as it stands | 0.00 \\[0, 0." in text
    assert "| worst case | 1.00" in text
    assert "above that of the question as it stands: NPO." in text
    assert "Not run: as it comes" in text
    assert "dialogue: 1 of 2" in text


def test_every_trial_of_the_tuning_stands_there(store):
    trials = [
        {"rate": 2e-5, "steps": 40, "met": False, "greedy": 0.5, "unshown": 1.0},
        {"rate": 5e-5, "steps": 10, "met": True, "greedy": 0.0, "unshown": 0.93},
    ]
    store.put("tune-npo", {"rate": 5e-5, "trials": trials})
    rows = [one for one in section(store).split("### Settings")[1].splitlines() if one.startswith("| NPO |")]
    assert [one.count("taken") for one in rows] == [0, 1]
    assert "| 2e-05 | 40 | no | 0.50 | 1.00 |" in rows[0]
