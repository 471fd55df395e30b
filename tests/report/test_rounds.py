"""RULE's rounds as a table, from the records of this version and of former ones."""

import json
import math

from leakatk.report.content import Number
from leakatk.report.rounds import rounds_table

PLAIN = {"round": 1, "leak": 0.5, "high": None, "added": 3, "steps": 20}


def table(tmp_path, *rounds):
    path = tmp_path / "rounds.json"
    path.write_text(json.dumps({"rounds": rounds, "verdict": "all done", "chosen": 1, "steps": 20}))
    return rounds_table(path, "RULE", k=8)


def test_a_round_has_its_leak_its_bound_and_what_was_added(tmp_path):
    found = table(tmp_path, {**PLAIN, "metrics": {}})
    assert found.columns == ("round", "leak@8 before", "certified at most", "new leaks added", "steps")
    ((number, leak, high, added, steps),) = found.rows
    assert (number, leak, added, steps) == ("1", Number(0.5), Number(3, digits=0), Number(20, digits=0))
    assert math.isnan(high.value)
    assert "all done" in found.caption


def test_what_a_strategy_measured_has_a_column(tmp_path):
    found = table(tmp_path, {**PLAIN, "metrics": {"membership_auc": 0.4, "other_thing": None}})
    assert found.columns[3:5] == ("membership AUC", "other thing")
    assert found.rows[0][3] == Number(0.4)
    assert math.isnan(found.rows[0][4].value)


def test_records_of_former_versions_are_read(tmp_path):
    old = {**PLAIN, "exposure": 0.4, "fidelity": 0.9}
    new = {**PLAIN, "metrics": {"membership_auc": 0.4, "replay_accuracy": 0.9}}
    assert table(tmp_path, old) == table(tmp_path, new)
    assert (
        table(tmp_path, {**PLAIN, "exposure": None, "fidelity": None}).columns
        == table(tmp_path, {**PLAIN, "metrics": {}}).columns
    )


def test_without_a_record_there_is_no_table(tmp_path):
    assert rounds_table(tmp_path / "rounds.json", "RULE") is None
    assert table(tmp_path) is None
