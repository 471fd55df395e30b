"""Greedy recall: what is counted, what is kept, and what a person is warned of."""

import json
from dataclasses import replace

import pytest

from leakatk.benchmarks.base import Benchmark
from leakatk.models.load import load_model
from leakatk.prompts import Prompt
from leakatk.small import recall
from leakatk.small.recall import Recall, SetRecall, chosen, recalled, warnings
from tests.tiny import PROMPTS, save_tiny_model

BENCH = Benchmark(name="b", forget=tuple(PROMPTS[:2]), retain=(PROMPTS[2],))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_model(save_tiny_model(tmp_path_factory.mktemp("m") / "tiny"), device="cpu")


def says(monkeypatch, answers):
    """A model whose greedy answer to each question is known; gives what it was asked."""
    asked = []

    def texts(loaded, prompts, max_new_tokens):
        asked.append([prompt.id for prompt in prompts])
        return [answers[prompt.id] for prompt in prompts]

    monkeypatch.setattr(recall, "greedy_texts", texts)
    return asked


def test_right_answers_are_counted_by_set(monkeypatch, loaded, tmp_path):
    asked = says(monkeypatch, {"p0": "In Zorvik.", "p1": "Nobody.", "p2": "The Glass Orchard"})
    found = recalled(loaded, BENCH, tmp_path / "full.json", quiet=True)
    assert (found.scorer, found.forget, found.retain) == ("fact", SetRecall(1, 2, 0, 2), SetRecall(1, 1, 0, 1))
    assert found.forget.share == 0.5
    rows = json.loads((tmp_path / "full.json").read_text())["sets"]["forget"]["answers"]
    assert {row["id"]: (row["text"], row["score"]) for row in rows} == {
        "p0": ("In Zorvik.", 1.0),
        "p1": ("Nobody.", 0.0),
    }
    assert recalled(loaded, BENCH, tmp_path / "full.json", quiet=True) == found
    assert len(asked) == 2  # of two sets, once
    recalled(loaded, replace(BENCH, forget=BENCH.forget[:1]), tmp_path / "full.json", quiet=True)
    assert len(asked) == 4


def test_held_retain_prompts_are_asked_as_retain(monkeypatch, loaded, tmp_path):
    says(monkeypatch, {"p0": "Zorvik", "p1": "Mira Quell", "p2": "?"})
    bench = Benchmark(name="b", forget=BENCH.forget[:1], retain=(PROMPTS[1],), retain_held=(PROMPTS[2],))
    assert recalled(loaded, bench, tmp_path / "x.json", quiet=True).retain == SetRecall(1, 2, 0, 2)


def test_what_is_not_asked_and_not_scored_is_said(monkeypatch, loaded, tmp_path):
    says(monkeypatch, {"p0": "Zorvik", "p1": "Mira Quell", "p2": "?"})
    found = recalled(loaded, BENCH, tmp_path / "x.json", most=1, quiet=True)
    assert (found.forget.asked, found.forget.there) == (1, 2)
    assert str(found.forget).endswith("(asked: 1 of 2)")
    assert str(SetRecall(3, 4, 2, 6)) == "3 of 4, 2 that the scorer cannot score"


def test_an_answer_that_cannot_be_scored_is_not_wrong(monkeypatch, loaded, tmp_path):
    says(monkeypatch, {"p0": "Zorvik", "p1": "?", "p2": "?"})
    monkeypatch.setattr(recall, "default_scorers", lambda prompts: ("keys:min_keys=2", "rouge-l"))
    found = recalled(loaded, BENCH, tmp_path / "x.json", quiet=True)
    assert found.forget == SetRecall(0, 1, 1, 2)  # Zorvik is one key


def test_the_same_prompts_are_asked_of_every_model():
    prompts = [Prompt(str(i), "Q?", "A.") for i in range(50)]
    few = chosen(prompts, 10)
    assert few == [prompt for prompt in prompts if prompt in few]
    assert {p.id for p in chosen(prompts[::-1], 10)} == {p.id for p in few}
    assert few != prompts[:10]
    assert chosen(prompts, 60) == prompts


def test_a_person_is_warned_of_what_was_not_memorised_and_of_what_can_be_guessed():
    good, half, none = SetRecall(10, 10, 0, 10), SetRecall(5, 10, 0, 10), SetRecall(0, 10, 0, 10)

    def of(full, retrained):
        return warnings({"full": Recall("keys", *full), "retain": Recall("keys", *retrained)})

    assert of((good, good), (none, good)) == []
    [one] = of((half, good), (none, good))
    assert one.startswith("full has not memorised the forget set: greedily it knows 5 of 10.")
    [one] = of((good, half), (none, good))
    assert one.startswith("full has not memorised the retain set")
    [one] = of((good, good), (none, half))
    assert one.startswith("retrained has not memorised the retain set")
    [one] = of((good, good), (half, good))
    assert one.startswith("retrained answers 5 of 10 of the forget set rightly")
    nothing = SetRecall(0, 0, 0, 0)  # of --split full with a forget file alone
    assert warnings({"full": Recall("keys", good, nothing)}) == []
