"""Subjects of questions, without a guess at what a name looks like."""

import pytest

from leakatk.prompts import Prompt
from leakatk.unlearning.rehearsal.subjects import Forms, longest_topic, proper, subject_words, topics_in

CAPITALS = [
    f"What is the capital of {name}?" for name in ("France", "Peru", "French Guiana", "South Korea", "North Korea")
]
PEOPLE = [
    form.format(name)
    for name in ("ada byron", "bo klein", "ada klein", "bo byron", "eva stone", "ada stone")
    for form in ("where was {} born?", "who taught {} and when?", "did {} ever meet a poet?")
]


def asked(text, **changes):
    return Prompt("q", text, "x", **changes)


@pytest.mark.parametrize("name", ["France", "Peru", "French Guiana", "South Korea", "North Korea"])
def test_the_subject_is_what_questions_of_one_form_do_not_share(name):
    forms = Forms([*CAPITALS, "Who wrote Emma?"])
    assert forms.subject(asked(f"What is the capital of {name}?")) == name
    assert forms.stem(asked(f"What is the capital of {name}?")) == "What is the capital of {}?"


def test_no_capital_is_needed_and_a_shared_part_of_a_name_stays_in_it():
    forms = Forms(PEOPLE)
    assert forms.subject(asked("where was ada byron born?")) == "ada byron"
    assert forms.subject(asked("did eva stone ever meet a poet?")) == "eva stone"


def test_a_question_need_not_be_among_those_it_is_compared_with():
    assert Forms(CAPITALS).subject(asked("What is the capital of Togo?")) == "Togo"


def test_the_source_wins_where_the_question_holds_it():
    forms = Forms(CAPITALS)
    assert forms.subject(asked(CAPITALS[0], source="capital of France")) == "capital of France"
    assert forms.subject(asked(CAPITALS[0], source="elsewhere")) == "France"


def test_wordings_share_the_subject():
    prompt = asked(CAPITALS[0], paraphrases=("Which city rules France? Name it.", "Name the seat of rule of France."))
    assert Forms([]).subject(prompt) == "France"


def test_nothing_tells_the_subject_of_a_question_alone():
    prompt = asked("Who counted the stones?")
    assert Forms([prompt.question]).subject(prompt) == Forms(CAPITALS).subject(prompt) == ""
    assert Forms([]).stem(prompt) == ""
    assert Forms(["", "?"]).subject(asked("")) == ""


def test_topics_are_runs_of_proper_words_as_long_as_subjects():
    plain = {"the", "sea", "met"}
    text = "The Sea of Rome met Ada Alva, Bo Berg Cray and Emma"
    assert topics_in(text, plain, {1}) == ["Rome", "Emma"]
    assert topics_in(text, plain, {2, 3}) == ["Ada Alva", "Bo Berg Cray"]
    assert longest_topic(text, plain) == "Bo Berg Cray"
    assert longest_topic("no such word", plain) == ""
    assert not proper("The", plain)
    assert not proper("sea", set())
    assert proper("Sea", {"the"})
    assert subject_words(["Ada Alva", "", "Rome"]) == {1, 2}
