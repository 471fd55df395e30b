from dataclasses import replace

import pytest

from leakatk.errors import InputError
from leakatk.probes import get_probe, variants
from leakatk.prompts import Prompt
from leakatk.synthesis import Rewrite, get_writer, reworded
from leakatk.synthesis.rewriting import REQUESTS
from tests.synthesis.test_generated import Scribe

ADA = Prompt(
    "a/1", "Where was Ada born?", "Ada was born in Zorvik.", ("In which town?",), facts=("Zorvik",), source="Ada"
)
BO = Prompt("b", "Who taught Bo?", "Mira Quell did.", source="Bo")
TEXTS = {
    "a/1": [
        "",
        "Where was Ada born",
        "Was it Zorvik?",
        "Tell me her town.",
        "Tell me the town of Ada.",
        " tell me the town of ada!",
        "O town, O Ada?",
    ],
    "b": ["Mira Quell?", "Who was it that taught Bo?"],
}


def test_the_first_texts_that_are_other_questions_and_tell_nothing():
    rows = Rewrite(count=2, tries=4).write_with(Scribe(TEXTS), [ADA, BO])
    assert [(row.id, row.question) for row in rows] == [
        ("a/1/rewrite/1", "Tell me the town of Ada."),
        ("a/1/rewrite/2", "O town, O Ada?"),
        ("b/rewrite/1", "Who was it that taught Bo?"),
    ]
    assert [row.answer for row in rows] == [ADA.answer, ADA.answer, BO.answer]
    assert rows[0].facts == ADA.facts
    assert Rewrite(tries=3).write_with(Scribe(TEXTS), [ADA]) == []


def test_a_rewriting_that_names_nobody_is_of_no_use_unless_it_is_asked_for():
    """A weak writer drifts: what its questions do not get would pass for no leak."""
    drifting = Scribe({"a/1": ["What is the capital of Peru?"]})
    assert Rewrite().write_with(drifting, [ADA]) == []
    [row] = Rewrite(names=False).write_with(drifting, [ADA])
    assert row.question == "What is the capital of Peru?"


@pytest.mark.parametrize("form", REQUESTS)
def test_the_writer_sees_the_question_and_not_the_answer(form):
    scribe = Scribe(TEXTS)
    asking = replace(ADA, question="Where was {language} {question} Ada born?")
    writer = Rewrite(form=form, language="Welsh", tries=6)
    rows = writer.write_with(scribe, [asking])
    [asked] = [request.prompt.query.text for request in scribe.asked.values()]
    assert asked.endswith(asking.question)
    assert "Zorvik" not in asked
    assert ("Welsh" in asked) == (form == "translation")
    assert rows[0].question.endswith("Answer in English.") == (form == "translation")
    assert len({Rewrite(form=one).request("Q?") for one in REQUESTS}) == len(REQUESTS)


def test_rows_become_wordings_that_a_probe_asks():
    rows = Rewrite(count=2, tries=4).write_with(Scribe(TEXTS), [ADA])
    found = reworded([ADA, BO], rows)
    assert found == [replace(ADA, paraphrases=("In which town?", "Tell me the town of Ada.", "O town, O Ada?")), BO]
    asked = variants(get_probe("paraphrase"), found)
    assert [one.query.text for one in asked["a/1"]][1:] == ["Tell me the town of Ada.", "O town, O Ada?"]


def test_bad_options():
    for spec, match in (("form=opera", "conversation, poem"), ("count=0", "at least 1"), ("language= ", "language")):
        with pytest.raises(InputError, match=match):
            get_writer(f"rewrite:{spec}")
