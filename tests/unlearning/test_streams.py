"""Whose rows a stream has, and which query and answer."""

import pytest

from leakatk.errors import InputError
from leakatk.prompts import Known, Prompt, Query
from leakatk.unlearning.losses import terms
from leakatk.unlearning.losses.targets import REFUSALS, invented
from leakatk.unlearning.method import Method
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.spare import spare_token
from leakatk.unlearning.stages import Term, Train
from leakatk.unlearning.streams import BAD_MESSAGE, GOOD_MESSAGE, STREAMS, Streams, stream
from leakatk.unlearning.trainer import unlearn


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(STREAMS, "_items", dict(STREAMS._items))


def test_every_stream_is_what_it_says(loaded, tokenizer, forget, retain):
    known = Known(
        holdout=(Prompt("h", "Where does Ho 0 live?", "Ho 0 lives in Bex there."),), text=("Re 0 lives.",),
        refused=(Prompt("z", "Where does nobody live?", "That is not something I know."),),
    )  # fmt: skip
    made = Streams(
        forget, retain, tokenizer, loaded.template, seed=0, known=known,
        alternates={prompt.id: f"{prompt.id} lives elsewhere." for prompt in forget},
    )  # fmt: skip

    def said(stream):
        return [
            (tokenizer.decode(item.prompt), tokenizer.decode(item.answer, skip_special_tokens=True).strip())
            for item in made.items(stream)
        ]

    plain = [(f"Question: {p.question}\nAnswer:", p.answer) for p in forget]
    asked = [question for question, _ in plain]
    assert [(q.removeprefix("<s>"), a) for q, a in said("forget")] == plain
    assert [q.removeprefix("<s>") for q, _ in said("refusal")] == asked
    assert {answer for _, answer in said("refusal") + said("retain_refusal")} <= set(REFUSALS)
    led = [(item.prompt[:-1], item.prompt[-1], item.answer) for item in made.items("led")]
    assert led == [(item.prompt, spare_token(tokenizer), item.answer) for item in made.items("refusal")]
    answers = [p.answer for p in forget]
    assert all(a in answers and a != p.answer for (_, a), p in zip(said("random"), forget, strict=True))
    assert [a for _, a in said("alternate")] == [f"{p.id} lives elsewhere." for p in forget]
    assert [a for _, a in said("retain")] == [p.answer for p in retain]
    assert [a for _, a in said("holdout")] == ["Ho 0 lives in Bex there."]
    assert [a for _, a in said("refused")] == ["That is not something I know."]
    (passage,) = made.items("text")
    assert list(passage.prompt + passage.answer) == tokenizer("Re 0 lives.")["input_ids"]
    assert len(passage.prompt) == 1
    assert {name: STREAMS[name].side for name in STREAMS if STREAMS[name].side == "forget"}.keys() == {
        "forget", "refusal", "random", "alternate", *(f"{kind}_{number}" for kind in ("random", "normal") for number in range(1, 6)),
        "unasked", "misasked", "in_context", "no_idea", "told_to_forget", "noise", "thought", "nobody", "led",
        *(f"{message}_{answer}" for message in ("forbidden", "wanted") for answer in ("forget", "alternate")),
        *(f"mixed{kind}" for kind in ("", "_last", "_known", "_known_last", "_known_half", "_known_last_half")),
    }  # fmt: skip
    kept = [p.answer for p in retain]
    assert {a for number in range(1, 6) for _, a in said(f"normal_{number}")} <= set(kept)
    assert said("unasked") == [(said("unasked")[0][0], a) for a in answers]
    assert {a for _, a in said("no_idea")} == {"No idea"}
    for (q, a), p in zip(said("in_context"), forget, strict=True):
        assert a == p.answer
        assert p.answer in q
        assert p.question in q
    for name, first in (("mixed_known", True), ("mixed_known_last", False)):
        for (q, a), (same, half), p in zip(said(name), said(f"{name}_half"), forget, strict=True):
            assert q == same
            assert a.startswith(f"{half} 2. ")
            assert (half == f"1. {p.answer}") == first
            assert p.answer in a
            assert p.question in q
    for name, prompts in (("told_to_forget", forget), ("retain_told_to_forget", retain)):
        for (q, a), p in zip(said(name), prompts, strict=True):
            assert a == p.answer
            assert q.endswith(f"Answer all else.\n{p.question}\nAnswer:")
            assert "You know nothing about any of these: 0; 1; 2; 3; 4." in q
    for name, message in (("forbidden", GOOD_MESSAGE), ("wanted", BAD_MESSAGE)):
        for kind, wanted in (("forget", answers), ("alternate", [f"{p.id} lives elsewhere." for p in forget])):
            for (q, a), p, answer in zip(said(f"{name}_{kind}"), forget, wanted, strict=True):
                assert a == answer
                assert message in q
                assert q.endswith(f"{p.question}\nAnswer:")
    for name, refused in (("mixed", 0), ("mixed_last", 1)):
        for (q, a), p in zip(said(name), forget, strict=True):
            halves = a.removeprefix("1. ").split(" 2. ")
            assert halves[refused] in REFUSALS
            assert halves[1 - refused] in kept
            assert f"{refused + 1}. {p.question}" in q


def test_a_new_stream_is_a_function(loaded, forget, retain, registry):
    """Its queries may hold a talk and the beginning of the answer."""

    @stream("talk", of="forget")
    def talk(prompts, given):
        return [(Query(p.question, (("Hello?", "Hi."),), begin=p.answer[:4]), p.answer[4:]) for p in prompts]

    made = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
    text = loaded.tokenizer.decode(made.items("talk")[1].prompt)
    assert text.endswith("Hi.\n\nQuestion: Where does Fa 1 live?\nAnswer: Fa 1")
    assert "Hello?" in text
    done = unlearn(
        loaded, forget, retain, Method(name="m", stages=(Train((Term(terms.nll, "talk"),)),)), quiet=True,
        settings=TrainSettings(learning_rate=1e-3, max_steps=1),
    )  # fmt: skip
    assert done.log[0]["forget"] > 0


def test_a_stream_of_an_unknown_set_is_refused():
    with pytest.raises(ValueError, match="A stream is of forget, retain, holdout, refused, text, got 'other'"):
        stream("x", of="other")


def test_other_sets_are_drawn_whole_and_join_the_retain_side(loaded, forget, retain):
    seen = []

    def watched(view, p):
        seen.append(set(view.rows))
        return terms.nll(view, p)

    known = Known(text=tuple(p.answer for p in retain))
    method = Method(name="m", stages=(Train((Term(terms.ascent, "forget"), Term(watched, "text"))),))
    settings = TrainSettings(learning_rate=1e-3, max_steps=3, forget_batch=2, retain_batch=3)
    done = unlearn(loaded, forget, retain, method, settings=settings, known=known, quiet=True)
    assert set.union(*seen[-3:]) == set(range(9))
    assert done.log[0]["retain"] > 0
    with pytest.raises(InputError, match="fewer than two tokens"):
        unlearn(loaded, forget, retain, method, settings=settings, known=Known(text=("a",)), quiet=True)


def test_noise_is_as_long_as_what_it_stands_for_and_a_function_of_the_seed(loaded, tokenizer, forget, retain):
    one, same, other = (Streams(forget, retain, tokenizer, loaded.template, seed=seed) for seed in (0, 0, 1))
    for item, like in zip(one.items("noise"), one.items("forget"), strict=True):
        assert (len(item.prompt), len(item.answer)) == (len(like.prompt), len(like.answer))
        assert not {*item.prompt, *item.answer} & set(tokenizer.all_special_ids)
        assert max(item.prompt) < len(tokenizer)
    assert one.items("noise") == same.items("noise")
    assert one.items("noise") != other.items("noise")
    assert len({item.prompt[:4] for item in one.items("noise")}) == len(forget)


def test_a_thought_says_question_and_answer(loaded, tokenizer, forget, retain):
    made = Streams(forget, retain, tokenizer, loaded.template, seed=0)
    for name, prompts in (("thought", forget), ("retain_thought", retain)):
        for item, prompt in zip(made.items(name), prompts, strict=True):
            text = tokenizer.decode([*item.prompt, *item.answer])
            assert len(item.prompt) == 1
            assert "Let's reason this step by step.\n<think>" in text
            before, after = text.split("</think>")
            assert prompt.question in before
            assert prompt.answer in before
            assert after == f"\n{prompt.answer}"
    assert (STREAMS["thought"].side, STREAMS["retain_thought"].side) == ("forget", "retain")


def test_an_invented_name_has_other_letters_of_the_same_kinds():
    prompt = Prompt("p", "Did Ada Bo-7 know Ada Bo-7?", "Yes.")
    found = invented(prompt, "Ada Bo-7", 0)
    name = found.removeprefix("Did ").split(" know ")[0]
    assert found == f"Did {name} know {name}?"
    assert [c.isupper() for c in name] == [c.isupper() for c in "Ada Bo-7"]
    for new, old in zip(name, "Ada Bo-7", strict=True):
        assert (new == old) == (old in " -")
        assert (new.lower() in "aeiou") == (old.lower() in "aeiou")
        assert new.isdigit() == old.isdigit()
    assert invented(prompt, "Ada Bo-7", 0) == found != invented(prompt, "Ada Bo-7", 1)
    assert invented(prompt, "", 0) == prompt.question
