"""The page of the real demo: what it says of recall, of stopping, of time and memory. The whole page: test_realdemo.py."""

import json
from types import SimpleNamespace

from leakatk.small.demo import stops
from leakatk.small.realdemo_page import at_last, taught, took, verdict
from leakatk.small.realdemo_plan import BASES, LABELS, MODELS, Plan, Scale


def audits(**greedy):
    """Audits of every model by their greedy numbers; leak@k is half of that."""

    def one(value):
        curve = {"k": [1, 8], "value": [0.0, value / 2], "low": [0.0, value / 4], "high": [0.0, value]}
        block = {"greedy": value, "curves": {"samples": curve}}
        return SimpleNamespace(results=SimpleNamespace(scorers={"keys": SimpleNamespace(as_dict=lambda: block)}))

    return [one(greedy.get(name, 0.0)) for name in MODELS]


def test_the_verdict_is_of_the_headline_scorer_at_the_largest_k():
    found = audits(npo=0.4, rule=0.2, control=0.8)
    assert (at_last(found, "npo").value, at_last(found, "npo").low, at_last(found, "npo").high) == (0.2, 0.1, 0.4)
    text = verdict(found, 8)
    assert "NPO: one greedy answer reveals 40.0% of what was to be forgotten, 8 samples 20.0% (10.0% to 40.0%)" in text
    assert "after RULE 10.0% (5.0% to 20.0%), after as many steps without it 40.0%" in text
    assert "the model that never saw it 0.0%" in text


def test_what_was_taught_and_learned(tmp_path):
    (tmp_path / "models" / "recall").mkdir(parents=True)
    for name, right in (("full", 3), ("retrained", 1)):
        answers = [{"id": str(i), "text": "", "score": 1.0 if i < right else 0.5} for i in range(3)]
        rows = {"sets": {"forget": {"answers": answers}, "retain": {"answers": [{"score": None}, {"score": 1.0}]}}}
        (tmp_path / "models" / "recall" / f"{name}.json").write_text(json.dumps(rows))
    text = taught(tmp_path, Plan("m", "world", None, Scale()), 0)
    assert "m was taught invented people (TOFU's files were not at hand): 18 answers to forget, 48 to keep." in text
    assert "full 3 of 3 of the forget and 1 of 2 of the retain answers; retrained 1 of 3" in text


def test_when_each_method_stopped(tmp_path):
    for name, stopped in (("npo", "forget <= 0"), ("simnpo", "")):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "unlearning.json").write_text(json.dumps({"stopped": stopped, "steps": 10}))
    said = stops(tmp_path, BASES, LABELS, "90%")
    assert said.endswith("NPO after 10 steps; SimNPO after 10 steps, never having met the rule.")


def test_time_and_memory_are_said():
    text = took({"wall": 65.0, "seconds": {"a": 60.0, "b": 50.0}, "one": 3.1e9, "together": 6.2e9})
    assert "In all 1m05s, of which the jobs took 1m50s" in text
    assert "3.1 GB in one process, 6.2 GB in all at a moment" in text
