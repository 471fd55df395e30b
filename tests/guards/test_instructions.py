"""Instructions: what each puts before a prompt, and that no stored answer is in it."""

from dataclasses import replace

import pytest

from leakatk.errors import InputError
from leakatk.guards import instructions
from leakatk.guards.instructions import CONFIDENTIAL, POLICY, Confidential, Reasoned, Request, Suppress, listed, told
from leakatk.prompts import Known, Prompt, Query
from tests.guards.conftest import FORGET, RETAIN

KNOWN = Known(FORGET, RETAIN, encoder="words")
NAMES = "Ada Korvin, Bo Tamsin, Cy Dellane"


def system_of(action, prompt=FORGET[0]):
    put = action.fit(KNOWN, None).query(prompt)
    assert put.query.text == prompt.query.text, "the question stays as it is"
    assert put.id == prompt.id
    return put.query.system


@pytest.fixture
def voice(monkeypatch):
    """What a voice was asked, and its answers: the texts in capitals."""
    asked = []

    def speak(voice, texts, **how):
        asked.extend(texts)
        return [f"SAID {i}" for i, _ in enumerate(texts)]

    monkeypatch.setattr(instructions, "ask", speak)
    return asked


@pytest.mark.parametrize("wording", ["soft", "medium"])
def test_every_target_is_listed_before_every_prompt(wording):
    for prompt in (FORGET[0], RETAIN[0]):
        assert NAMES in system_of(Suppress(wording=wording), prompt)
    assert "Bo Tamsin" not in system_of(Suppress(wording=wording, most=1))


def test_the_oracle_names_the_target_alone_and_leaves_other_prompts():
    assert "Bo Tamsin" in system_of(Suppress(wording="oracle"), FORGET[1])
    assert "Ada Korvin" not in system_of(Suppress(wording="oracle"), FORGET[1])
    assert Suppress(wording="oracle").fit(KNOWN, None).query(RETAIN[0]) is RETAIN[0]
    with pytest.raises(InputError, match="wording is one of soft, medium, oracle"):
        Suppress(wording="loud")


def test_a_request_by_its_scope():
    assert NAMES in system_of(Request())
    for scope in ("trajectory", "environment"):
        assert all(prompt.question in system_of(Request(scope=scope)) for prompt in FORGET)
    assert system_of(Request(scope="trajectory")) != system_of(Request(scope="environment"))
    with pytest.raises(InputError, match="scope is one of"):
        Request(scope="all")


def test_a_writer_converts_the_request(voice, made):
    known = replace(KNOWN, auxiliary={"writer": str(made.full)})
    action = Request().fit(known, None)
    assert action.query(FORGET[0]).query.system == "SAID 0"
    assert len(voice) == 1
    assert NAMES in voice[0]
    assert (
        action.describe()["writer"]
        != Request().fit(replace(known, auxiliary={"writer": str(made.clean)}), None).describe()["writer"]
    )


def test_the_nearest_entry_stands_before_the_question():
    more = (*FORGET, Prompt("f9", "When did Bo Tamsin retire?", "In 1999."))
    action = Confidential().fit(replace(KNOWN, forget=more), None)
    put = action.query(Prompt("x", "When did Bo Tamsin retire?", "")).query
    entry, question = put.text.split("\n\n")
    assert question == "When did Bo Tamsin retire?"
    assert entry == f"About Bo Tamsin: {FORGET[1].question} {more[-1].question} {CONFIDENTIAL}"
    assert "Ada Korvin" in action.query(FORGET[0]).query.text
    assert len(action.entries) == 3, "one a subject"


def test_a_writer_describes_each_subject(voice):
    action = Confidential().fit(replace(KNOWN, auxiliary={"writer": "http://x/v1#m"}), None)
    assert len(voice) == 3
    assert action.query(FORGET[1]).query.text.startswith(f"About Bo Tamsin: {FORGET[1].question} SAID 1 ")


def test_policy_and_steps(voice):
    found = system_of(Reasoned())
    assert found.startswith(POLICY)
    assert "Ada Korvin" in found
    assert "Bo Tamsin" not in found
    action = Reasoned().fit(replace(KNOWN, auxiliary={"reasoner": "http://x/v1#m"}), None)
    assert action.query(FORGET[0]).query.system == f"{POLICY}\nSAID 0"
    assert FORGET[0].question in voice[-1]


@pytest.mark.parametrize(
    "action",
    [
        Suppress(),
        Suppress(wording="oracle"),
        *(Request(scope=s) for s in ("state", "environment")),
        Confidential(),
        Reasoned(),
    ],
)
def test_no_answer_is_put(action):
    for prompt in FORGET:
        whole = str(action.fit(KNOWN, None).query(prompt).query)
        assert not any(one in whole for other in FORGET for one in (other.answer, *other.facts))


def test_what_was_said_before_stays():
    asked = Query("Who?", turns=(("A", "B"),), begin="It", system="Own.")
    put = told(Prompt("a", "Who?", "", asked=asked), "Mine.").query
    assert put == replace(asked, system="Own.\n\nMine.")
    assert listed(["a", "b", "c"], 2) == "a, b"
    assert listed(["a", "b"], 0) == "a, b"


@pytest.mark.parametrize("action", [Suppress(), Request(), Confidential(), Reasoned()])
def test_what_is_lacking_is_said(action):
    with pytest.raises(InputError, match="forget"):
        action.fit(Known(), None)
