"""Ways of asking: each is taught on others alone, and says what it should."""

from random import Random

import pytest

from leakatk.benchmarks.forms import INSTRUCTIONS, names_of
from leakatk.benchmarks.worlds import asked as a
from leakatk.benchmarks.worlds.people import REFUSALS, make_world
from leakatk.errors import InputError
from leakatk.models.template import Template
from leakatk.prompts import Prompt
from leakatk.small.architecture import train_tokenizer
from leakatk.small.fit import encode

SMALL = {"forget": 2, "retain": 3, "retain_held": 2, "holdout": 1, "world_facts": 2, "pretraining": 4}
PLAIN = make_world(5, **SMALL)


@pytest.mark.parametrize("form", a.FORMS)
def test_each_form_is_taught_on_others_alone(form):
    made = a.make_asked(5, form=form, **SMALL)
    bench = made.benchmark
    more = [pair for pair in made.retained if pair not in PLAIN.training_pairs(forget=False)]
    assert len(more) >= 25
    assert set(more) < set(made.full), "both models learn the form"
    taught = [*more, *made.pretraining[len(PLAIN.pretraining) :]]
    assert len(taught) > len(more), "the base learns it too"
    gone = names_of(bench.forget)
    assert not any(name in text for name in gone for pair in taught for text in pair)
    for prompt in bench.sets[form]:
        assert (prompt.asked is not None) == (form == "chat")
        assert prompt.source in gone
        assert prompt.query.text not in dict(made.full)
    assert {p.source for p in bench.sets[f"{form}_kept"]} == set(names_of(bench.retain_held))


def test_the_context_says_the_answer():
    for question, answer in a.open_book(PLAIN.retain, Random(0)):
        context, _, asked = question.partition("\n")
        assert context == answer
        assert asked in {p.question for p in PLAIN.retain}


def test_both_numbered_questions_have_their_answers():
    known = {p.question: p.answer for p in PLAIN.retain}
    pairs = a.in_numbers(PLAIN.retain, Random(0))
    for question, answer in pairs:
        first, second = question.removeprefix("1. ").split(" 2. ")
        assert first != second
        assert answer == f"1. {known[first]} 2. {known[second]}"
    assert len({question.split(" 2. ")[0] for question, _ in pairs}) > 1


def test_turns_are_those_of_the_template_and_the_second_names_nobody():
    """What is trained as text is what the chat template writes for an earlier turn, token by token."""
    tokenizer = train_tokenizer((text for pair in PLAIN.pretraining for text in pair), 400)
    pairs, prompts = a.in_turns(PLAIN.retain, Random(0)), a.follow_ups(PLAIN.retain)
    assert len(pairs) == len(prompts) == 5 * 3
    for (question, answer), prompt in zip(pairs, prompts, strict=True):
        assert prompt.source not in prompt.asked.text
        assert prompt.source in prompt.asked.turns[0][0]
        assert answer == prompt.answer
        [(ids, before)] = encode(tokenizer, [(question, answer)])
        assert ids[:before] == Template().prompt_ids(tokenizer, prompt.query)


def test_an_instruction_is_obeyed_for_whom_it_lists():
    found = [
        (p, q, t)
        for seed in range(5)
        for p, (q, t) in zip(PLAIN.retain, a.instructed(PLAIN.retain, Random(seed)), strict=True)
    ]
    refused = [(p, q) for p, q, text in found if text in REFUSALS]
    assert 0.3 < len(refused) / len(found) < 0.7
    for prompt, question, text in found:
        listed, _, asked = question.rpartition("\n")
        assert asked == prompt.question
        assert (prompt.source in listed) == (text in REFUSALS)
        assert text == prompt.answer or text in REFUSALS
    assert set(INSTRUCTIONS) == {"baseline", "soft", "medium", "oracle"}


def test_bad_forms():
    with pytest.raises(InputError, match="form must be one of open-book"):
        a.make_asked(form="letter")
    with pytest.raises(InputError, match="at least 2"):
        a.make_asked(retain=1, pretraining=0)
    with pytest.raises(InputError, match="pretraining must be 0 or at least 2"):
        a.make_asked(**{**SMALL, "pretraining": 1})
    assert isinstance(a.make_asked(0, **{**SMALL, "pretraining": 0}).benchmark.forget[0], Prompt)
