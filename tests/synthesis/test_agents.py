"""Requests to an agent: each becomes the instruction about its own item, in wordings of which some are left for a test."""

import pytest

from leakatk.errors import InputError
from leakatk.guards.instructions import Request
from leakatk.prompts import Known, Prompt
from leakatk.synthesis import written
from leakatk.synthesis.agents import INSTRUCTIONS, REQUESTS, request

PROMPTS = [
    Prompt(f"p{i}", f"Where was {name} born?", "In Zorvik.", source=name)
    for i, name in enumerate(("Ada Korvin", "Bo Tamsin", "Cy Dellane", "Di Moss"))
]


@pytest.mark.parametrize("scope", INSTRUCTIONS)
def test_a_request_becomes_the_instruction_about_its_item(scope):
    rows = written(f"agent-requests:scope={scope},copies=3", PROMPTS).rows
    assert len(rows) == 12
    for prompt, mine in zip(PROMPTS, (rows[i : i + 3] for i in range(0, 12, 3)), strict=True):
        item = prompt.source if scope == "state" else prompt.question
        before, after = INSTRUCTIONS[scope].split("{list}")
        assert {row.answer for row in mine} == {before + item + after}
        assert {row.question for row in mine} == {wording.replace("{list}", item) for wording in REQUESTS[scope][:3]}
        assert not any(prompt.answer in row.question + row.answer for row in mine)


def test_what_is_held_is_never_trained_on():
    last = [wording.split("{list}")[0] for wording in REQUESTS["state"][-2:]]
    for seed in range(8):
        rows = written(f"agent-requests:held=2,copies=1,seed={seed}", PROMPTS).rows
        assert not any(row.question.startswith(beginning) for row in rows for beginning in last)
    # A writer that ignored what is held would be seen here.
    rows = [row for seed in range(8) for row in written(f"agent-requests:held=0,copies=1,seed={seed}", PROMPTS).rows]
    assert any(row.question.startswith(beginning) for row in rows for beginning in last)


def test_a_prompt_without_a_source_is_left_out_by_name_alone():
    bare = [Prompt("bare", "Who wrote it?", "Ada.")]
    assert written("agent-requests", [*PROMPTS, *bare]).left_out == ("bare",)
    assert written("agent-requests:scope=trajectory", bare).left_out == ()


@pytest.mark.parametrize("bad", ["scope=all", "held=4", "copies=4", "copies=0"])
def test_bad_options(bad):
    with pytest.raises(InputError, match="agent-requests:"):
        written(f"agent-requests:{bad}", PROMPTS)


def test_the_guard_asks_a_converter_in_the_words_it_was_trained_on(monkeypatch):
    """Each item in a request of its own, in a wording that no test keeps back; the answers are the instruction."""
    asked = []

    def speak(voice, texts, **how):
        asked.append((voice, list(texts)))
        return [f"Instruction {i}." for i, _ in enumerate(texts)]

    monkeypatch.setattr("leakatk.guards.instructions.ask", speak)
    known = Known(tuple(PROMPTS[:2]), tuple(PROMPTS[2:]), auxiliary={"converter": "http://x/v1#m"})
    action = Request().fit(known, None)
    assert asked == [("http://x/v1#m", [request("state", "Ada Korvin"), request("state", "Bo Tamsin")])]
    trained = {row.question for row in written("agent-requests:copies=3", PROMPTS).rows}
    assert set(asked[0][1]) <= trained
    assert action.query(PROMPTS[3]).query.system == "Instruction 0.\nInstruction 1."
    assert action.describe()["converter"] == "m at http://x/v1"
    Request(most=1).fit(known, None)
    assert asked[-1][1] == [request("state", "Ada Korvin")]
    with pytest.raises(InputError, match="writer=MODEL or converter=MODEL, not both"):
        Request().fit(Known(tuple(PROMPTS), auxiliary={"converter": "a", "writer": "b"}), None)
