"""What a model knows of the retain set's kind, asked about topics that its answers speak of."""

import random
from dataclasses import replace

import numpy as np
import pytest

from leakatk.progress import Progress
from leakatk.unlearning.rehearsal import topics
from leakatk.unlearning.rehearsal.asker import KNOWN
from leakatk.unlearning.rehearsal.budget import Budget
from leakatk.unlearning.rehearsal.topics import about_topics

TOLD = {"Ada Alva": "Ada Alva met Bert Bork.", "Bert Bork": "Bert Bork met Carl Cray.", "Carl Cray": "Carl Cray."}


class Gossip:
    """Speaks of Ada Alva whoever it is asked about, of Bert Bork when asked about Ada, and of Carl then."""

    def __init__(self, loaded, banned="nobody else"):
        self.model, self.banned, self.budget = loaded, banned, Budget()
        self.progress = Progress("asking", 99, quiet=True)

    def clean(self, text):
        return self.banned not in text

    def greedy(self, prompts, source="questions"):
        asked = [next((name for name in TOLD if name in p.question), "") for p in prompts]
        return [
            replace(p, answer=TOLD.get(name, "Ada Alva met nobody.")) for p, name in zip(prompts, asked, strict=True)
        ]

    def sureness(self, prompts, source="questions"):
        return np.zeros(len(prompts))


@pytest.fixture
def named(retain, monkeypatch):
    monkeypatch.setattr(topics, "INVENTED", 10)
    return [replace(p, source=f"Nim{i} Nam{i}", question=f"Who is Nim{i} Nam{i}?") for i, p in enumerate(retain)]


def known(prompts):
    return {p.question: p.answer for p in prompts if p.id.startswith(KNOWN)}


def test_topics_that_answers_speak_of_are_asked_about_in_turn(loaded, named):
    sure, unsure = about_topics(Gossip(loaded), named, [], random.Random(0))
    assert known(sure) == {f"Who is {name}?": text for name, text in TOLD.items()}
    assert unsure == []
    # Without a source the form of the questions tells as much.
    bare = [replace(p, source="") for p in named]
    assert known(about_topics(Gossip(loaded), bare, [], random.Random(0))[0]) == known(sure)


def test_what_is_forgotten_is_neither_asked_about_nor_kept(loaded, named):
    sure, _ = about_topics(Gossip(loaded, "Bert Bork"), named, [], random.Random(0))
    assert sure == []  # what Ada's answer says of Bert is left out as well


def test_what_was_heard_before_is_asked_about_first(loaded, named, monkeypatch):
    monkeypatch.setattr(topics, "INVENTED", 0)
    assert about_topics(Gossip(loaded), named, [], random.Random(0)) == ([], [])
    sure, _ = about_topics(Gossip(loaded), named, ["In time Bert Bork came."], random.Random(0))
    assert set(known(sure)) == {"Who is Bert Bork?", "Who is Carl Cray?"}


def test_without_a_subject_nothing_is_asked_and_that_is_said(loaded, retain):
    gossip = Gossip(loaded)
    assert about_topics(gossip, retain[:1], [], random.Random(0)) == ([], [])
    assert "no questions about other topics" in gossip.budget.notes[0]
