"""What became of a run's answers: every kind is counted, and told once it is no rarity."""

from __future__ import annotations

from typing import Any

import pytest

from leakatk.prompts import Generation
from leakatk.runs.answers import answer_counts, told, warnings
from leakatk.runs.manifest import Manifest
from leakatk.runs.store import Run
from leakatk.sampling.decoding import Decoding
from tests.tiny import PROMPTS

# (text, finish, reasoning)
KINDS = [
    ("In Zorvik.", "stop", ""),
    ("In Zorvik", "length", ""),
    (" \n", "stop", ""),
    ("", "length", "Let me think about"),
    ("", "stop", "I will not say."),
    ("In Zor", "length", "They live there."),
]
COUNTS = {"answers": 200, "cut": 0, "empty": 0, "with_reasoning": 0, "unfinished_reasoning": 0}


def test_every_kind_of_answer_is_counted() -> None:
    manifest = Manifest.create(
        model={"fingerprint": "f"}, prompts=PROMPTS[:1], decoding=Decoding().as_dict(), seed=0, n=len(KINDS), engine="e"
    )
    with Run.temporary(manifest, PROMPTS[:1]) as run:
        run.append([Generation(PROMPTS[0].id, j, text, (), 0.0, *rest) for j, (text, *rest) in enumerate(KINDS)])
        assert answer_counts(run) == {
            "answers": 6, "cut": 3, "empty": 3, "with_reasoning": 3, "unfinished_reasoning": 1
        }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "clause"),
    [
        ({}, ""),
        ({"cut": 50}, "25% of the answers cut at 40 tokens"),
        ({"unfinished_reasoning": 50}, "25% thought until they were cut"),
        ({"empty": 100}, "50% empty"),
        ({"cut": 100, "empty": 50}, "50% of the answers cut at 40 tokens, 25% empty"),
    ],
)
def test_answers_that_are_no_clean_ones_are_told(found: dict[str, Any], clause: str) -> None:
    assert told({**COUNTS, **found}, 40) == clause


@pytest.mark.parametrize(("kind", "words"), [("cut", "were cut at 40 tokens"), ("empty", "are empty")])
def test_more_than_one_in_twenty_is_a_warning(kind: str, words: str) -> None:
    assert warnings({**COUNTS, kind: 10}, 40) == []
    [note] = warnings({**COUNTS, kind: 100}, 40, where=" under probe role")
    assert note.startswith(f"50% of the answers under probe role {words}")
