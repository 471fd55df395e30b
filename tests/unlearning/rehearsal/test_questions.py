"""Questions that a model asks itself."""

import random
from dataclasses import replace

import pytest

from leakatk.models.template import Template
from leakatk.progress import Progress
from leakatk.prompts import Prompt
from leakatk.sampling.native import NativeSampler
from leakatk.unlearning.rehearsal.asker import Asker
from leakatk.unlearning.rehearsal.budget import Budget
from leakatk.unlearning.rehearsal.questions import openings_of, own_questions, turn_of
from leakatk.unlearning.stop import greedy_texts

CHAT = (
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant:{% endif %}"
)


def asker(loaded, *, clean=lambda text: True, tokens=float("inf")):
    return Asker(loaded, NativeSampler(loaded), clean, 6, 0, Progress("asking", 9, quiet=True), Budget(tokens))


@pytest.fixture
def chat(loaded):
    tokenizer = type(loaded.tokenizer)(tokenizer_object=loaded.tokenizer._tokenizer, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = CHAT
    return replace(loaded, tokenizer=tokenizer, template=Template(kind="chat"))


def test_a_turn_begins_where_the_template_puts_the_question(loaded, chat):
    assert turn_of(chat) == ("<s>user: ", "")
    assert turn_of(loaded) == ("Question: ", "\nAnswer:")
    free = replace(loaded, template=Template(kind="plain", plain="{question}"))
    assert turn_of(free) is None  # nothing stands before it, and this tokenizer puts no start token


@pytest.mark.parametrize("kind", ["chat", "plain"])
def test_the_model_answers_what_it_wrote_itself(loaded, chat, retain, kind):
    model = chat if kind == "chat" else loaded
    one = asker(model)
    told = own_questions(one, retain, 12, random.Random(0))
    assert told
    assert len({p.question for p in told}) == len(told)
    assert [p.answer for p in told] == [text.strip() for text in greedy_texts(model, told, max_new_tokens=6)]
    begun = [p for p in told if p.question.startswith("Where does Re")]
    assert begun  # openings of the retain questions are gone on with
    assert len(begun) < len(told)
    assert own_questions(asker(model), retain, 12, random.Random(0)) == told
    assert one.budget.asked["own questions, written"] == 12
    assert one.budget.used > 0


def test_what_is_to_be_forgotten_is_neither_asked_nor_kept(loaded, retain):
    told = own_questions(asker(loaded), retain, 12, random.Random(0))
    assert any("e" in p.question.removeprefix("Where does Re") for p in told)
    kept = own_questions(asker(loaded, clean=lambda text: "o" not in text), retain, 12, random.Random(0))
    assert len(kept) < len(told)
    assert not any("o" in p.question + p.answer for p in kept)


def test_the_bound_ends_asking(loaded, retain):
    one = asker(loaded, tokens=1500)
    told = own_questions(one, retain, 400, random.Random(0))
    assert one.budget.used <= 1500
    assert one.budget.cut["own questions, written"] + one.budget.cut["own questions"] > 0
    assert 0 < len(told) < 400  # what is written can be answered


def test_a_template_without_a_place_before_the_question_is_said(loaded, retain):
    one = asker(replace(loaded, template=Template(kind="plain", plain="{question}")))
    assert own_questions(one, retain, 4, random.Random(0)) == []
    assert "no own questions" in one.budget.notes[0]


def test_openings_are_what_stands_before_the_subject():
    asked = ["What is the capital of Peru?", "What is the capital of Togo?", "Peru lies where?", "Togo lies where?"]
    assert openings_of([Prompt(str(i), text, "x") for i, text in enumerate(asked)]) == ["What is the capital of"]
