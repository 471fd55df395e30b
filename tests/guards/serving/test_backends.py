"""Backends: batches, ids that carry the seed, and what a guard's engine is under another template."""

import threading
from dataclasses import replace

import pytest

from leakatk.errors import InputError
from leakatk.guards.sampler import guarded
from leakatk.guards.serving.backends import Counts, Job, Local, client_of, hidden, under
from leakatk.guards.serving.protocol import RefusedError, parse
from leakatk.models.template import Template
from leakatk.sampling.native import NativeSampler
from tests.guards.conftest import FORGET, RETAIN


def asked(question, chat=True, **body):
    whole = {"messages": [{"role": "user", "content": question}]} if chat else {"prompt": question}
    return parse({**whole, "max_tokens": 6, **body}, chat=chat, passes_on=False)


@pytest.fixture
def local(loaded, known):
    made = Local(guarded(NativeSampler(loaded), known, "curate"), "full")
    yield made
    made.close()


def texts(answer):
    return [choice["message"]["content"] for choice in answer.body["choices"]]


def test_requests_of_one_decoding_are_one_batch(local):
    """While the engine is busy, what comes in waits together; each still gets the answer of its own seed."""
    question = RETAIN[0].question
    alone = [texts(local.answer(asked(question, seed=i))) for i in range(4)]
    batches, sample, held, busy = [], local.sampler.sample, threading.Event(), threading.Event()

    def slow(requests, decoding, *, seed):
        batches.append(len(requests))
        busy.set()
        assert held.wait(60)
        yield from sample(requests, decoding, seed=seed)

    local.sampler.sample = slow
    found = {}

    def put(i):
        found[i] = texts(local.answer(asked(question, seed=i)))

    first = threading.Thread(target=put, args=(0,))
    first.start()
    assert busy.wait(60)
    rest = [threading.Thread(target=put, args=(i,)) for i in range(1, 4)]
    for one in rest:
        one.start()
    while local._waiting.qsize() < 3:
        pass
    held.set()
    for one in (first, *rest):
        one.join()
    assert batches == [1, 3]
    assert [found[i] for i in range(4)] == alone


def test_several_answers_are_samples_of_one_seed(local):
    """n answers are samples 0 to n - 1: asking for more changes none of the first."""
    few, many = (texts(local.answer(asked("Hello", seed=5, n=n))) for n in (2, 5))
    assert many[:2] == few
    other = texts(local.answer(asked("Hello", seed=6, n=5)))
    assert other != many
    unseeded = [texts(local.answer(asked("Hello", n=5))) for _ in range(2)]
    assert unseeded[0] != unseeded[1], "without a seed each request draws anew"


def test_what_does_not_fit_the_model_is_refused(local):
    with pytest.raises(RefusedError, match="has room for 512") as found:
        local.answer(asked("x " * 2000))
    assert found.value.status == 400
    with pytest.raises(RefusedError, match="has room for 512"):
        local.answer(asked("Hello", max_tokens=510))
    whole = local.answer(asked("Hello", max_tokens=None))  # by itself an answer is as long as there is room
    assert whole.body["usage"]["prompt_tokens"] > 0


def test_flags_of_a_server_are_not_kept_for_ever(loaded, known, monkeypatch):
    monkeypatch.setattr("leakatk.guards.serving.backends._KEPT", 3)
    made = Local(guarded(NativeSampler(loaded), known, "curate"), "full")
    try:
        for i in range(6):
            made.answer(asked(f"Hello {i}", max_tokens=1))
        assert len(made.sampler._flagged) <= 3
    finally:
        made.close()


def test_the_prompt_tokens_of_a_flagged_request_are_its_own(loaded, known):
    """Examples that a guard puts before it are not counted: their number is nobody's business."""
    made = Local(guarded(NativeSampler(loaded), known, "icul"), "full")
    try:
        found = made.answer(asked(FORGET[0].question)).body["usage"]["prompt_tokens"]
    finally:
        made.close()
    assert found == len(loaded.template.prompt_ids(loaded.tokenizer, FORGET[0].question))


def test_ids_carry_seed_and_conversation(local):
    ids = {local._prompt(Job(asked("Hello", seed=seed))).id for seed in (1, 1, 2)}
    assert len(ids) == 2
    assert local._prompt(Job(asked("Hi", seed=1))).id not in ids


def test_under_another_template_it_is_the_same_guard(loaded, known):
    sampler = guarded(NativeSampler(loaded), known, "ucd")
    other = under(sampler, Template("plain", plain="{question}"))
    assert other.guard is sampler.guard
    assert other.plain is other.acting
    assert other.plain.loaded.template.plain == "{question}"
    assert sampler.plain.loaded.template == loaded.template
    assert other.plain.loaded.model is sampler.plain.loaded.model


class Response:
    def __init__(self, status, body):
        self.status_code, self.body = status, body

    def json(self):
        if isinstance(self.body, Exception):
            raise self.body
        return self.body


@pytest.mark.parametrize(
    ("status", "body", "wanted", "param"),
    [
        (400, {"error": {"message": "secret", "param": "top_k"}}, 400, "top_k"),
        (422, {"error": {"message": "no 'seed' secret"}}, 422, "seed"),
        (400, {"error": {"message": "secret", "param": "secret"}}, 400, ""),
        (500, {"error": "secret"}, 502, ""),
        (401, ValueError("secret"), 401, ""),
        (429, [], 429, ""),
    ],
)
def test_a_refusal_from_behind_is_told_without_its_words(status, body, wanted, param):
    found = hidden(Response(status, body))
    assert (found.status, found.param) == (wanted, param)
    assert "secret" not in found.message


def test_counts_are_kept_under_a_lock():
    counts = Counts()
    threads = [
        threading.Thread(target=lambda: [counts.add(answered=1, flagged=1) for _ in range(200)]) for _ in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (counts.answered, counts.flagged) == (1600, 1600)


def test_an_address_that_is_none_is_said():
    with pytest.raises(InputError, match="no address"):
        client_of("http://[bad", "", 1)
    client_of("http://localhost:1/v1", "", 1).close()


def test_a_thought_about_a_flagged_prompt_is_not_shown(loaded, known):
    from leakatk.guards.serving.backends import said_of
    from leakatk.prompts import Generation

    one = Generation("a", 0, "No.", (1, 2), 0.0, "stop", reasoning="Ada was born in Zorvik")
    assert said_of(one, flagged=True).reasoning == ""
    assert said_of(replace(one), flagged=False).reasoning == one.reasoning
