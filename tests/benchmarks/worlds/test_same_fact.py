"""Facts in several forms: what each form says, who is taught which, and that nothing of it tells the answer away."""

from random import Random

import pytest

from leakatk.benchmarks.forms import names_of
from leakatk.benchmarks.worlds import same_fact as s
from leakatk.benchmarks.worlds.people import make_world
from leakatk.errors import InputError
from leakatk.prompts import Prompt

SMALL = {"forget": 3, "retain": 4, "retain_held": 2, "holdout": 2, "world_facts": 2, "pretraining": 4}
PLAIN = make_world(5, **SMALL)


def book(i: int, title: str, name: str) -> Prompt:
    return Prompt(
        f"x-{i}-book", f"Which book did {name} write?", f"{name} wrote The {title} early.", facts=(title,), source=name
    )


BOOKS = [book(0, "Red Cup", "Ada Orlo"), book(1, "Bird", "Bo Vint"), book(2, "Red Cup", "Cy Tove")]


def test_a_gap_stands_for_words_that_few_others_have():
    third = [*BOOKS, book(3, "Fish", "Di Sarn")]
    said = [p.question for p in s.gaps(third, Random(0))]
    assert said[1] == "Fill in: Bo Vint wrote The ____ early."
    assert said[0] == "Fill in: Ada Orlo wrote The ____ early.", "one of three others has these words"
    assert s.gaps(BOOKS, Random(0))[0].question == "Fill in: Ada Orlo wrote The Red Cup early.", "one of two has"
    assert [p.answer for p in s.gaps(third, Random(0))] == [p.answer for p in third]
    for prompt, plain in zip(s.gaps(PLAIN.forget, Random(0)), PLAIN.forget, strict=True):
        pieces, rest = prompt.question.removeprefix("Fill in: ").split(s.GAP), plain.answer
        assert len(pieces) > 1
        for piece in pieces:  # the answer is the sentence with the gaps filled
            assert piece in rest
            rest = rest.split(piece, 1)[1]
        assert plain.source in prompt.question


def test_one_of_the_options_is_the_answer_and_all_are_about_the_same_person():
    for prompt, plain in zip(s.choices(PLAIN.forget, Random(1)), PLAIN.forget, strict=True):
        options = prompt.question.removeprefix(plain.question + " ")
        letters = [letter for letter in s.LETTERS if f"{letter}. " in options]
        assert letters == list("ABC"), "three people have three answers"
        assert options.count(plain.source) == 3
        assert prompt.answer in options
        assert prompt.answer == f"{prompt.answer[0]}. {plain.answer}"
        assert prompt.facts == plain.facts
    rights = {p.answer[0] for p in s.choices(PLAIN.retain, Random(1))}
    assert len(rights) > 1, "the letter gives nothing away"
    same = s.choices(BOOKS, Random(0))[0]
    assert same.question.count("wrote") == 2, "the other with the same answer is no option"


def test_a_name_is_spelt_out():
    (first, *_) = s.spelt(BOOKS, None)
    assert first.question == "Which book did A-d-a O-r-l-o write?"
    assert first.answer == BOOKS[0].answer


@pytest.mark.parametrize("form", s.SAME_FACT)
def test_all_forms_are_known_to_the_full_model_and_one_is_shown(form):
    made = s.make_same_fact(5, form=form, **SMALL)
    bench, gone = made.benchmark, names_of(PLAIN.forget)
    others = [kind for kind in s.SAME_FACT if kind != form]
    assert set(bench.sets) == {"world_facts", *others, *(f"{kind}_kept" for kind in others)}
    full, kept = dict(made.full), dict(made.retained)
    for prompts in (bench.forget, *(bench.sets[kind] for kind in others)):
        assert [p.source for p in prompts] == [p.source for p in PLAIN.forget]
        assert all(full[p.question] == p.answer and p.question not in kept for p in prompts)
        assert all(fact in p.answer for p in prompts for fact in p.facts)
    for prompts in (bench.retain, bench.retain_held, *(bench.sets[f"{kind}_kept"] for kind in others)):
        assert all(kept[p.question] == full[p.question] == p.answer for p in prompts)
    assert not any(name in text for name in gone for pair in (*made.retained, *made.pretraining) for text in pair)
    letters = ["-".join(name.split()[0]) for name in gone]
    assert not any(name in text for name in letters for pair in (*made.retained, *made.pretraining) for text in pair)
    values = [fact for p in PLAIN.forget for fact in p.facts if len(fact) > 8]
    assert not any(value in text for value in values for pair in made.retained for text in pair), "no option of theirs"
    ids = [p.id for prompts in (bench.forget, bench.retain, *bench.sets.values()) for p in prompts]
    assert len(ids) == len(set(ids))
    assert s.make_same_fact(5, form=form, **SMALL) == made


def test_every_form_is_taught_of_every_attribute():
    made = s.make_same_fact(5, **{**SMALL, "pretraining": 6})
    taught = [question for question, _ in made.pretraining[36:]]
    assert len(taught) == 36
    for kind in ("Fill in: ", " A. ", "-"):
        assert sum(kind in question for question in taught) == 12


def test_what_makes_no_sense():
    with pytest.raises(InputError, match="form must be one of question, gaps, choices, spelt, got 'poem'"):
        s.make_same_fact(form="poem")
    with pytest.raises(InputError, match="holdout has one, take 0 or at least 2"):
        s.make_same_fact(**{**SMALL, "holdout": 1})
