"""Inverted facts: of several wrong answers those that MEMO names."""

import pytest

from leakatk.errors import InputError
from leakatk.prompts import Known
from leakatk.synthesis import Inverted, get_writer
from tests.synthesis.test_generated import TEXTS, Scribe
from tests.synthesis.test_memo import Parrot
from tests.synthesis.test_templates import CRAFTS, FORGET, KNOWN, RETAIN, TOWNS
from tests.tiny import PROMPTS

ADA = FORGET[0]


def towns(rows):
    return [row.answer.removeprefix("Ada Vos was born in ").removesuffix(".") for row in rows]


def test_wrong_answers_are_of_the_same_kind():
    rows = Inverted(pick="first", candidates=9, count=9, tries=8).write(FORGET, KNOWN)
    for prompt in FORGET:
        mine = [row for row in rows if row.id.startswith(f"{prompt.id}/inverted/")]
        kind = TOWNS if prompt.facts[0] in TOWNS else CRAFTS
        own = prompt.facts[0]
        assert {row.answer for row in mine} == {prompt.answer.replace(own, other) for other in kind - {own}}
        assert {row.question for row in mine} == {prompt.question}


@pytest.mark.parametrize("pick", ["least", "most"])
def test_those_with_the_least_memo_are_kept(pick):
    """A model that says one wrong answer by heart: it is the last for least and the first for most."""
    parrot, known = Parrot({ADA.question: "Ada Vos was born in Mard."}), Known(retain=(*FORGET[2:], *RETAIN))
    writer = Inverted(pick=pick, candidates=3, count=3, tries=9)
    found = towns(writer.write_with(parrot, [ADA], known))
    assert sorted(found) == ["Bex", "Lusk", "Mard"]
    assert found[0 if pick == "most" else -1] == "Mard"
    few = Inverted(pick=pick, candidates=3, count=1, tries=9).write_with(parrot, [ADA], known)
    assert (towns(few) == ["Mard"]) == (pick == "most")


def test_without_memo_no_model_is_asked():
    writer = get_writer("inverted:pick=first")
    assert writer.needs == ()
    assert get_writer("inverted:pick=first,by=original").needs == ("original",)
    assert get_writer("inverted:by=writer").needs == ("original", "auxiliary writer")


def test_a_model_writes_them():
    """Asked as for alternates: what has a fact of the true answer, or was said before, is passed over."""
    rows = Inverted(by="original", pick="first", candidates=4, count=2).write_with(Scribe(TEXTS), PROMPTS, Known())
    assert [row.answer for row in rows[:2]] == ["Ada was born in Lusk.", "Ada was born in Mard."]
    assert len(rows) == 6


def test_bad_options_are_named():
    for spec, match in (
        ("inverted:by=nobody", "templates, original, writer"),
        ("inverted:pick=best", "least, most, first"),
        ("inverted:count=0", "count must be at least 1"),
    ):
        with pytest.raises(InputError, match=match):
            get_writer(spec)
