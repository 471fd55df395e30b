"""Results with types: nothing of results.json is lost on the way there and back, in this version's and in former ones."""

import json
import math
from pathlib import Path

import pytest

from leakatk.errors import RunError
from leakatk.runs.results import AuditResults, CurveResult, GateVerdict, ScorerResult, read_results

FORMER = sorted(Path(__file__).parents[1].joinpath("golden").rglob("results.json"))
CURVE = {"k": [1, 2], "value": [0.1, 0.2], "low": [0.0, 0.1], "high": [0.3, 0.4]}
SCORER = {"m": 1, "n": 2, "curves": {"samples": CURVE}, "prompt_ids": ["a"], "per_prompt": [[0.1, 0.2]]}
LEAST = {"label": "x", "decoding": "T=1", "m": 1, "n": 2, "level": 0.95, "scorers": {"fact": SCORER}}


@pytest.mark.parametrize("path", FORMER, ids=lambda path: path.parent.name)
def test_results_of_former_versions(path):
    kept = json.loads(path.read_text())
    found = AuditResults.from_dict(kept)
    assert found.as_dict() == kept
    assert list(found.as_dict()) == list(kept)
    assert isinstance(next(iter(found.scorers.values())).curves["samples"], CurveResult)


def test_there_are_former_results():
    assert len(FORMER) >= 5


def test_what_is_not_there_is_left_out():
    found = AuditResults.from_dict(LEAST)
    assert found.retrained is None
    assert not {"reference", "gate", "probes", "notes"} & found.as_dict().keys()


def test_undefined_is_null_and_absent_is_absent():
    made = ScorerResult.from_dict({**SCORER, "greedy": None, "retain": None})
    assert math.isnan(made.greedy)
    assert math.isnan(made.retain)
    assert made.as_dict()["retain"] is None
    assert ScorerResult.from_dict(SCORER).retain is None
    assert "retain" not in ScorerResult.from_dict(SCORER).as_dict()


def test_the_retrained_model_is_the_reference_on_disk():
    row = {**LEAST, "reference": {"model": "r", "fingerprint": "f"}}
    assert AuditResults.from_dict(row).retrained == row["reference"]
    assert AuditResults.from_dict(row).as_dict()["reference"] == row["reference"]


def test_keys_of_another_version_are_kept():
    row = {**LEAST, "scorers": {"fact": {**SCORER, "new": [1]}}, "newer": {"a": 1}}
    found = AuditResults.from_dict(row)
    assert found.others == {"newer": {"a": 1}}
    assert found.as_dict()["newer"] == {"a": 1}
    assert found.as_dict()["scorers"]["fact"]["new"] == [1]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({**LEAST, "scorers": {"fact": {"m": 1}}}, "scorers: fact has no 'curves'"),
        ({**LEAST, "scorers": {"fact": 3}}, "holds 3"),
        ({**LEAST, "gate": {"answer": "PASS"}}, "gate has no"),
        ({"label": "x"}, "has no 'decoding'"),
        ([], r"holds \[\]"),
    ],
)
def test_what_is_damaged_is_named(row, words):
    with pytest.raises(RunError, match=words):
        AuditResults.from_dict(row)


def test_a_verdict_of_a_former_version():
    row = {"answer": "PASS", "reason": "", "k": 1, "bound": 0.1, "over": "samples", "level": 0.95, "each_level": 0.95,
           "looks": 1, "low": 0.0, "high": 0.1, "worst": "T=1", "unscored": "count", "cut": "count", "settings": []}  # fmt: skip
    assert GateVerdict.from_dict(row).as_dict() == row


def test_a_directory_without_results(tmp_path):
    with pytest.raises(RunError):
        read_results(tmp_path)
