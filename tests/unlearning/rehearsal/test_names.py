"""What a model says by itself, asked about names that it says."""

from dataclasses import replace

import numpy as np

from leakatk.unlearning.rehearsal import asker, echoes, names
from leakatk.unlearning.rehearsal.asker import KNOWN
from leakatk.unlearning.rehearsal.names import rehearsal_prompts
from leakatk.unlearning.rule.likelihood import Likelihoods


def test_rehearsal_prompts_hold_nothing_forgotten(loaded, forget, retain, monkeypatch):
    monkeypatch.setattr(echoes, "FIRST", 60)
    monkeypatch.setattr(echoes, "ECHO_ROUNDS", 1)
    monkeypatch.setattr(echoes, "ECHOED", 30)
    monkeypatch.setattr(echoes, "NEARLY", -9.0)
    monkeypatch.setattr(echoes, "SURE", -9.0)
    named = [replace(p, source=" ".join(p.id), question=f"Where does {' '.join(p.id)} live?") for p in retain]
    banned = [replace(forget[0], source="Hidden One", facts=("e",))]
    told = rehearsal_prompts(loaded, forget, named, max_new_tokens=6)
    assert any("/echo/" in p.id for p in told)
    assert all(p.question.strip() and p.answer for p in told)
    assert len({p.id for p in told}) == len(told)
    kept = rehearsal_prompts(loaded, banned, named, max_new_tokens=6)
    assert not any("e" in p.answer for p in kept)
    assert rehearsal_prompts(loaded, forget, named, max_new_tokens=6) == told


def test_names_that_answers_say_are_asked_about_in_turn(loaded, forget, retain, monkeypatch):
    """The original speaks of Ada Alva whoever it is asked about, of Bert Bork when asked about Ada, and of Carl then."""
    named = [replace(p, source=f"Nim Nam{i}", question=f"Who is Nim Nam{i}?") for i, p in enumerate(retain)]
    told = {"Ada Alva": "Ada Alva met Bert Bork.", "Bert Bork": "Bert Bork met Carl Cray.", "Carl Cray": "Carl Cray."}

    def say(sampler, prompts, n, decoding, *, seed):
        asked = [next((name for name in told if name in p.question), "") for p in prompts]
        return [[told.get(name, "Ada Alva met nobody.")] * n for name in asked]

    monkeypatch.setattr(asker, "texts_of", say)
    monkeypatch.setattr(
        asker, "answer_likelihoods", lambda loaded, prompts: Likelihoods(*(np.zeros(len(prompts)),) * 4)
    )
    monkeypatch.setattr(names, "INVENTED", 10)
    monkeypatch.setattr(names, "echoes", lambda *arguments: [])
    mine = rehearsal_prompts(loaded, forget, named)
    assert {p.question: p.answer for p in mine if p.id.startswith(KNOWN)} == {
        f"Who is {k}?": v for k, v in told.items()
    }
    banned = [replace(forget[0], source="Bert Bork")]
    mine = rehearsal_prompts(loaded, banned, named)
    assert [
        p.question for p in mine if p.id.startswith(KNOWN)
    ] == []  # what Ada's answer says of Bert is left out as well
