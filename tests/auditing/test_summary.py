"""What an audit's samples say: results.json of the whole and of each way of asking."""

import json

import pytest

from leakatk.auditing.asking import probed
from leakatk.auditing.summary import alone, curve_dict, wordings
from leakatk.estimate.leak import leak_at_k
from leakatk.prompts import Prompt
from leakatk.runs.results import read_results
from tests.auditing.scripted import CLEAN, LEAK, PROMPTS, audited


def say(prompt, j, greedy):
    return (LEAK if j % 2 else CLEAN, "length" if j % 4 == 0 else "stop", "Zorvik{i}?" if j == 1 else "")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    place = tmp_path_factory.mktemp("audit")
    audited(say, place, n=32, scorers=["fact", "rouge-l"], probes=["trigger"], retain=[Prompt("r0", "Q?", "In Rome.")])
    return read_results(place / "run"), place / "run"


def test_the_blocks_that_there_are(found):
    results, _ = found
    assert list(results.as_dict()) == [
        "label", "role", "command", "benchmark", "protocol", "decoding", "max_new_tokens", "m", "n", "level", "answers",
        "wordings", "scorers", "probes", "reasoning", "worst", "gate", "verdict", "notes", "seconds",
    ]  # fmt: skip
    assert list(results.scorers) == ["fact", "rouge-l"]
    assert results.scorers["fact"].retain is not None
    assert results.worst.ways == 2
    assert results.answers["cut"] == 10 * 8
    assert any("cut at 40 tokens" in note for note in results.notes)


def test_a_way_of_asking_is_an_audited_run_of_its_own(found):
    results, place = found
    kept = json.loads((place / "probes" / "trigger" / "results.json").read_text())
    assert alone(results, "trigger").as_dict() == kept
    assert kept["label"] == f"{results.label}, trigger"
    assert kept["scorers"] == results.probes["trigger"].as_dict()["scorers"]


def test_wordings_are_counted():
    several = [Prompt("a", "Who?", "Bo Li.", paraphrases=("By whom?",)), PROMPTS[0]]
    asked = probed(["paraphrase"], several, [])
    assert wordings(asked, several) == {"one": 1, "several": 1}
    assert wordings([], several) == {"one": 2, "several": 0}


def test_curves_are_plain_lists():
    curve = leak_at_k([[0, 1, 1, 0]], [1, 2])
    assert curve_dict(curve) == {
        "k": [1, 2], "value": curve.value.tolist(), "low": curve.low.tolist(), "high": curve.high.tolist()
    }  # fmt: skip
