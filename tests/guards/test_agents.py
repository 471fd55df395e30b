"""ALU's roles by rule and by a model: what is erased, how it is judged, and when all is declined."""

from dataclasses import replace

import pytest

from leakatk.errors import InputError
from leakatk.guards import agents
from leakatk.guards.actions import REFUSAL
from leakatk.guards.agents import Agents, added, composed, erased, score
from leakatk.prompts import Known
from tests.guards.conftest import FORGET, RETAIN

KNOWN = Known(FORGET, RETAIN)
QUESTION, ANSWER = FORGET[0].question, FORGET[0].answer


def test_what_an_answer_adds_to_its_question():
    pieces = added(QUESTION, ANSWER)
    assert "".join(piece for piece, _ in pieces) == ANSWER
    assert [piece for piece, new in pieces if new] == ["Zorvik"]
    assert not any(new for _, new in added(QUESTION, "ADA KORVIN was born."))


def test_edits_of_three_kinds():
    text = "Ada Korvin was born in Zorvik Town. She was born. Ada loved Bo."
    assert erased(QUESTION, text) == [
        "Ada Korvin was born in [...]. She was born. Ada [...].",
        "She was born.",
        "Ada Korvin was born in . She was born. Ada .",
    ]


@pytest.mark.parametrize("prompt", FORGET)
def test_no_fact_survives_an_edit(prompt):
    for edit in erased(prompt.question, prompt.answer):
        facts = {word for fact in prompt.facts for word in fact.split()} - {"The"}
        assert facts
        assert not [word for word in facts if word in edit]


def test_the_critics_score_by_hand():
    # Old words: Ada Korvin was born in (5); new: Zorvik (1).
    assert score(QUESTION, ANSWER, "Ada Korvin was born in [...].") == 5.0
    assert score(QUESTION, ANSWER, ANSWER) == pytest.approx(1 + 4 * (0 + 1) / 2)
    assert score(QUESTION, ANSWER, "Ada Korvin.") == pytest.approx(1 + 4 * (1 + 2 / 5) / 2)
    assert score(QUESTION, ANSWER, "[...]") == score(QUESTION, ANSWER, "") == 1.0


def test_the_composer_takes_the_best_or_declines():
    assert composed(["a", "b", "c"], [2, 5, 5], 3.0) == "b"
    assert composed(["a", "b"], [1, 4], 3.0) == ""
    assert composed([], [], 1.0) == ""


def test_the_four_roles_in_turn():
    action = Agents(least=1.0).fit(KNOWN, None)
    assert action.answer(FORGET[0], ANSWER) == "Ada Korvin was born in [...]."
    assert Agents(least=5.0).fit(KNOWN, None).answer(FORGET[0], ANSWER) == REFUSAL
    assert action.answer(FORGET[0], "") == Agents(refusal=REFUSAL).refusal


def test_a_model_plays_the_roles(monkeypatch, made):
    """Each role is asked with its own task; scores are read from what the model says; nobody sees a bad version."""
    asked = []

    def speak(voice, texts, *, system="", most=200):
        asked.append((system, texts))
        if "remove" in system:
            return ["It leaks Zorvik.", "She was born somewhere."]
        if "score" in system:
            return [f"I give {2 if 'leaks' in text else 4}." for text in texts]
        return ["She was born somewhere, I think."]

    monkeypatch.setattr(agents, "ask", speak)
    known = replace(KNOWN, auxiliary={"roles": str(made.full)})
    action = Agents(edits=2, least=3.0).fit(known, None)
    assert action.answer(FORGET[0], ANSWER) == "She was born somewhere, I think."
    assert [len(texts) for _, texts in asked] == [2, 2, 1]
    assert "Forgotten: Ada Korvin" in asked[0][1][0]
    assert asked[2][1][0].index("She was born somewhere.") < asked[2][1][0].index("It leaks")
    assert Agents(edits=2, least=4.0).fit(known, None).answer(FORGET[0], ANSWER) == REFUSAL
    assert "roles" in action.describe()


def test_a_critic_that_says_no_number_trusts_nothing(monkeypatch, made):
    monkeypatch.setattr(agents, "ask", lambda voice, texts, **how: ["no idea"] * len(texts))
    action = Agents().fit(replace(KNOWN, auxiliary={"roles": str(made.full)}), None)
    assert action.answer(FORGET[0], ANSWER) == REFUSAL


@pytest.mark.parametrize("options", [{"edits": 0}, {"least": 0.5}, {"least": 6.0}])
def test_bad_options(options):
    with pytest.raises(InputError, match="at least 1 edit"):
        Agents(**options)
