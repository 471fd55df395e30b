"""Requests: what is taken as it means, and every malformed one refused with the field's name and nothing of the text."""

import json

import pytest

from leakatk.guards.serving.protocol import RefusedError, Said, chunks, parse, question_of, reply
from leakatk.models.template import Template
from leakatk.prompts import Query
from leakatk.sampling.decoding import Decoding

USER = {"role": "user", "content": "Who?"}
SECRET = "the secret"


def asked(chat=True, passes_on=False, **body):
    whole = {"model": "m", **({"messages": [USER]} if chat else {"prompt": "Who?"}), **body}
    return parse(whole, chat=chat, passes_on=passes_on)


def test_a_conversation():
    found = asked(
        messages=[
            {"role": "system", "content": "Be brief."}, USER, {"role": "assistant", "content": "Bo."},
            {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "when?"}]},
        ],
        temperature=0, top_p=0.9, top_k=-1, min_p=0.1, repetition_penalty=1.2, max_tokens=7, stop="\n", seed=3, n=2, stream=True,
    )  # fmt: skip
    assert found.query == Query("And when?", turns=(("Who?", "Bo."),), system="Be brief.")
    assert found.decoding == Decoding(0, 0.9, 0, 0.1, 1.2, 7, ("\n",))
    assert (found.seed, found.n, found.stream, found.model) == (3, 2, True, "m")
    assert "stream" not in found.body


def test_a_completion():
    assert asked(chat=False, prompt=["Who?"]).query == Query("Who?")
    assert asked(chat=False, max_completion_tokens=5).decoding.max_new_tokens == 5
    assert asked(chat=False, stop=None, n=None, seed=None, temperature=None).decoding.temperature == 1.0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"messages": []}, "'messages' must be a list"),
        ({"messages": SECRET}, "'messages' must be a list"),
        ({"messages": [SECRET]}, "needs a role"),
        ({"messages": [{"role": SECRET, "content": "x"}]}, "needs a role"),
        ({"messages": [{"role": "tool", "content": SECRET}]}, "needs a role"),
        ({"messages": [{"role": "user"}]}, "must hold text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": SECRET}]}]}, "text alone"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "lone surrogate"),
        ({"messages": [{"role": "user", "content": "  "}]}, "is empty"),
        ({"messages": [USER, USER]}, "take turns"),
        ({"messages": [USER, {"role": "assistant", "content": SECRET}]}, "the user speaks last"),
        ({"messages": [{"role": "system", "content": SECRET}]}, "the user speaks last"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [SECRET]}]}, "tools"),
        ({"temperature": SECRET}, "'temperature' must be a number"),
        ({"temperature": -1}, "'temperature' is out of its range"),
        ({"temperature": True}, "'temperature' must be a number"),
        ({"temperature": 10**400}, "'temperature' is out of its range"),
        ({"top_p": 1.5}, "'top_p' is out"),
        ({"top_k": 1.5}, "'top_k' must be a whole number"),
        ({"min_p": 1}, "'min_p' is out"),
        ({"max_tokens": 0}, "'max_tokens' must be from 1"),
        ({"max_tokens": 10**5}, "'max_tokens' must be from 1"),
        ({"stop": [""]}, "'stop' must be"),
        ({"stop": {"a": SECRET}}, "'stop' must be"),
        ({"n": 0}, "'n' must be"),
        ({"n": 10**6}, "'n' must be"),
        ({"seed": "x"}, "'seed' must be"),
        ({"stream": SECRET}, "'stream' must be"),
        ({"model": 5}, "'model' must be"),
        ({"echo": True}, "'echo' is not supported"),
        ({"best_of": 4}, "'best_of' is not supported"),
        ({"prompt_logprobs": 1}, "'prompt_logprobs' is not supported"),
        ({"logprobs": True}, "'logprobs' is not supported"),
        ({"frequency_penalty": 0.5}, "'frequency_penalty' is not supported"),
        ({SECRET: 1}, "There is a field that is not supported"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_malformed_is_refused_and_not_quoted(body, says):
    with pytest.raises(RefusedError, match=says) as found:
        asked(**body)
    assert found.value.status == 400
    assert SECRET not in json.dumps(found.value.body())


@pytest.mark.parametrize("prompt", [None, "", [], ["a", "b"], [1, 2], {"a": 1}])
def test_prompts_of_completions(prompt):
    with pytest.raises(RefusedError, match="one string"):
        asked(chat=False, prompt=prompt)


@pytest.mark.parametrize("body", [None, [], "text", 5])
def test_a_body_is_an_object(body):
    with pytest.raises(RefusedError, match="JSON object"):
        parse(body, chat=True, passes_on=False)


def test_what_asks_for_nothing_is_taken_and_another_server_gets_more():
    asked(user="u", logprobs=False, frequency_penalty=0, tools=[], response_format={"type": "text"})
    found = asked(passes_on=True, logprobs=True, guided_regex="x")
    assert found.body["guided_regex"] == "x"
    with pytest.raises(RefusedError, match="'echo'"):
        asked(passes_on=True, echo=True)


def test_the_question_in_a_completion():
    template = Template("plain")
    assert question_of("Question: Who?\nAnswer:", template) == "Who?"
    assert question_of("Question: A?\nAnswer: b\n\nQuestion: Who?\nAnswer: ", template) == "Who?"
    for text in ("Who?", "Question: Who?", "Who?\nAnswer:"):
        assert question_of(text, template) == text
    assert question_of("Who?\n", Template("plain", plain="{question}")) == "Who?"


@pytest.mark.parametrize("chat", [True, False])
def test_answers_in_both_forms(chat):
    one, said = asked(chat=chat, n=2), [Said("Bo.", tokens=2), Said("Cy", "length", tokens=3)]
    whole = reply(one, said, model="m", prompt_tokens=4)
    texts = [choice["message"]["content"] if chat else choice["text"] for choice in whole["choices"]]
    assert texts == ["Bo.", "Cy"]
    assert [choice["finish_reason"] for choice in whole["choices"]] == ["stop", "length"]
    assert whole["usage"] == {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9}
    events = list(chunks(one, said, model="m"))
    assert events[-1] == "data: [DONE]\n\n"
    pieces = [json.loads(event.removeprefix("data: "))["choices"][0] for event in events[:-1]]
    streamed = [
        "".join((p["delta"].get("content", "") if chat else p["text"]) for p in pieces if p["index"] == i)
        for i in (0, 1)
    ]
    assert streamed == texts
    assert [p["finish_reason"] for p in pieces if p["finish_reason"]] == ["stop", "length"]
