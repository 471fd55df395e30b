import dataclasses
from functools import lru_cache

import pytest

from leakatk.attacks import LadderSettings, attack_ladder, get_attack
from leakatk.attacks.lessons import by_template, given_away, lessons, nearest, similarity, template_of
from leakatk.attacks.rungs import rungs_of
from leakatk.errors import InputError
from leakatk.prompts import Known, Prompt


def asked(name, form, number=0):
    forms = (
        "Where does {} live?",
        "What is the trade of {}?",
        "Which pet has {} at home?",
        "When was {} born, and by whom?",
    )
    return Prompt(f"{name}/{form}", forms[form].format(name), f"Answer {number} of {name}.", source=name)


FORGET = tuple(asked(name, form) for name in ("Ada", "Bo", "Cy") for form in range(3))
RETAIN = tuple(asked(name, form) for name in ("Dov", "Eli") for form in range(4))
KNOWN = Known(forget=FORGET, retain=RETAIN)


@pytest.mark.parametrize(
    ("one", "other"), [("kitten", "sitting"), ("", ""), ("abc", ""), ("Where is Bo?", "Where is Ada?"), ("a", "a")]
)
def test_similarity_is_of_edits(one, other):
    @lru_cache(None)
    def edits(i, j):
        if not i or not j:
            return i + j
        return min(edits(i - 1, j) + 1, edits(i, j - 1) + 1, edits(i - 1, j - 1) + (one[i - 1] != other[j - 1]))

    longest = max(len(one), len(other))
    assert similarity(one, other) == pytest.approx(1 - edits(len(one), len(other)) / longest if longest else 1.0)


def test_lessons_of_the_same_form_are_about_others():
    found = nearest([asked("Ada", 1)], RETAIN, 2)
    assert [prompt.id for prompt in found] == ["Dov/1", "Eli/1"]
    # Of the measured one's own source none is taken, however like it is.
    assert [prompt.id for prompt in nearest([asked("Ada", 1)], [asked("Ada", 1, 9), *RETAIN], 1)] == ["Dov/1"]
    everyone = lessons("syntax", dataclasses.replace(KNOWN, unseen=FORGET))
    assert {prompt.source for prompt in everyone} == {"Dov", "Eli"}
    assert "Dov/3" not in {
        prompt.id for prompt in lessons("syntax", Known(forget=(asked("Ada", 0),), retain=RETAIN * 1))[:2]
    }
    with pytest.raises(InputError, match="about others"):
        nearest([asked("Ada", 1)], [asked("Ada", 0)])


def test_folds_of_a_topic_hold_whole_templates():
    parts = by_template(KNOWN, 3, 3)
    assert sorted(prompt.id for part in parts for prompt in part.unseen) == sorted(prompt.id for prompt in FORGET)
    for part in parts:
        unseen, seen = ({template_of(prompt) for prompt in some} for some in (part.unseen, part.seen))
        assert not unseen & seen
        assert {prompt.source for prompt in lessons("topic", part)} == {"Ada", "Bo", "Cy"}
    rungs = rungs_of(["relearn:on=topic"], KNOWN, LadderSettings(folds=3, seed=3))
    assert list(rungs[-1].parts) == parts


def test_a_topic_needs_sources_and_templates():
    with pytest.raises(InputError, match="needs the source"):
        by_template(Known(forget=(*FORGET, Prompt("x", "Who?", "Bo."))), 0, 2)
    with pytest.raises(InputError, match="a template for each of its 4 folds; the forget prompts have 3"):
        by_template(KNOWN, 0, 4)
    apart = Known(forget=(asked("Ada", 0), asked("Bo", 1)))
    with pytest.raises(InputError, match="no source with two templates"):
        by_template(apart, 0, 2)


def test_what_texts_give_away():
    who = Prompt("a", "Where does Ada live?", "Ada lives in Bex, with Bo.", facts=("Bex", "Bo"))
    other = Prompt("b", "Where does Cy live?", "Cy lives in Orlo.")
    assert given_away([], [who]) == {"prompts": 0.0, "words": 0.0}
    # lives, in, bex, with, bo; of Cy lives, in, orlo
    assert given_away(["Bex is near", "Bo sings"], [who, other]) == {"prompts": 0.0, "words": 2 / 8}
    assert given_away(["In Bex there is Bo."], [who, other]) == {"prompts": 1 / 2, "words": 4 / 8}
    assert given_away(["So: Cy lives in Orlo"], [who, other])["prompts"] == 1 / 2
    assert given_away(["Bexley, Boo"], [who])["prompts"] == 0.0  # parts of words are none
    assert given_away(["Bex Bo"], [])["prompts"] == 0.0


def test_an_attack_says_what_it_gives_away(forgot, forget, retain, tmp_path):
    from leakatk.report.ladder import said

    few = LadderSettings(n=1, quiet=True)
    known = Known(retain=tuple(retain))
    summary = attack_ladder(
        forgot, forget, ["relearn:steps=1,on=retain", "quantise"], out=tmp_path / "o", known=known, settings=few
    )
    assert summary["rungs"][1]["gives_away"] == given_away([f"{p.question} {p.answer}" for p in retain], forget)
    assert "gives_away" not in summary["rungs"][2]
    assert any("holds 100.0% of the words" in sentence for sentence in said(summary))


def test_a_smaller_size_of_the_same_form():
    one = get_attack("relearn:on=syntax,size=2")
    part = dataclasses.replace(KNOWN, unseen=FORGET)
    assert len(one.chosen(part)) == 2
    assert set(one.chosen(part)) < set(get_attack("relearn:on=syntax").chosen(part))
