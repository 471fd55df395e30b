"""A rehearsal on disk is not asked again, and is refused for another one."""

import pytest

from leakatk.errors import RunError
from leakatk.prompts import Prompt
from leakatk.unlearning.rehearsal import stored
from leakatk.unlearning.rehearsal.budget import Budget


@pytest.fixture
def asked(monkeypatch):
    calls = []

    def ask(original, forget, retain, *, budget, **options):
        calls.append(options)
        budget.afford("echoes", [1, 2])
        budget.charge("echoes", 7)
        return [Prompt("own/known/1", "Who?", "Bo.", source="Bo")]

    monkeypatch.setattr(stored, "rehearsal_prompts", ask)
    return calls


def test_it_is_asked_once(loaded, forget, retain, tmp_path, asked):
    path = tmp_path / "rehearsal.json"
    first = stored.stored_rehearsal(path, loaded, forget, retain, budget=Budget(100))
    again = stored.stored_rehearsal(path, loaded, forget, retain, budget=Budget(100))
    assert first == again
    assert len(asked) == 1
    assert first[0] == [Prompt("own/known/1", "Who?", "Bo.", source="Bo")]
    assert first[1]["used"] == 7
    assert "2 questions in 7 tokens" in first[1]["says"]


def test_another_rehearsal_is_refused(loaded, forget, retain, tmp_path, asked):
    path = tmp_path / "rehearsal.json"
    stored.stored_rehearsal(path, loaded, forget, retain, budget=Budget(100))
    for changes in ({"budget": Budget(50)}, {"seed": 1}, {"questions": 3}):
        with pytest.raises(RunError, match="a rehearsal made otherwise"):
            stored.stored_rehearsal(path, loaded, forget, retain, **{"budget": Budget(100), **changes})
    with pytest.raises(RunError, match="prompts"):
        stored.stored_rehearsal(path, loaded, forget, retain[1:], budget=Budget(100))
    assert len(asked) == 1
