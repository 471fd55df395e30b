import dataclasses

import pytest

from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import Generation
from leakatk.synthesis import Alternates, get_writer, pairs
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.trainer import unlearn
from tests.tiny import PROMPTS, save_tiny_model


class Scribe:
    """An engine that writes what it is told for each prompt, over and over."""

    name = "scribe"

    def __init__(self, texts):
        self.texts, self.asked, self.decoding = texts, {}, None

    def describe(self):
        return {"model": "scribe"}

    def sample(self, requests, decoding, *, seed):
        self.decoding = decoding
        for request in requests:
            self.asked[request.prompt.id] = request
            texts = self.texts[request.prompt.id]
            yield [Generation(request.prompt.id, j, texts[j % len(texts)], (), 0.0, "stop") for j in request.samples]


TOWNS = ["Lusk", "Mard", "Bex", "Orlo", "Vint", "Sarn"]
TEXTS = {
    "p0": ["Ada was born in Zorvik.", "", *(f"Ada was born in {town}.\nQuestion: more" for town in TOWNS)],
    "p1": [f"Bo was taught by {town} Senn." for town in TOWNS],
    "p2": ["Cy wrote The Glass Orchard and more.", *(f"Cy wrote {town}." for town in TOWNS[:5])],
}


def test_five_other_answers_for_each_question():
    scribe = Scribe(TEXTS)
    rows = Alternates().write_with(scribe, PROMPTS)
    assert [row.id for row in rows] == [f"{p.id}/alternates/{i}" for p in PROMPTS for i in range(1, 6)]
    assert [row.answer for row in rows[:5]] == [f"Ada was born in {town}." for town in TOWNS[:5]]
    assert [row.answer for row in rows[10:]] == [f"Cy wrote {town}." for town in TOWNS[:5]]
    assert all(row.question == PROMPTS[i // 5].question for i, row in enumerate(rows))
    assert scribe.decoding.temperature == 1
    assert {len(request.samples) for request in scribe.asked.values()} == {20}


def test_the_request_shows_examples_then_question_and_answer():
    writer = get_writer("alternates:shots=2")
    query = writer.request(dataclasses.replace(PROMPTS[0], question="Where {is} {answer}?"))
    assert len(query.turns) == 2
    assert query.text.startswith("Question: Where {is} {answer}?\nAnswer: Ada was born in Zorvik.\n")
    asked, reply = query.turns[0]
    assert query.text.splitlines()[-1] == asked.splitlines()[-1]
    assert reply not in asked


def test_too_few_are_an_error_that_counts():
    texts = {**TEXTS, "p1": ["Bo was taught by Mira Quell.", "Bo was taught by Senn."]}
    with pytest.raises(InputError, match=r"1 of 3 questions have fewer than 5 .* 'p1' has 1"):
        Alternates().write_with(Scribe(texts), PROMPTS)
    assert len(Alternates(least=1).write_with(Scribe(texts), PROMPTS)) == 11


def test_they_feed_the_method(tmp_path):
    loaded = load_model(save_tiny_model(tmp_path / "model"))
    forget, alternates = pairs(PROMPTS, Alternates().write_with(Scribe(TEXTS), PROMPTS))
    settings = TrainSettings(max_steps=2, forget_batch=4, retain_batch=2)
    done = unlearn(loaded, forget, PROMPTS, "altpo", alternates=alternates, settings=settings, quiet=True)
    assert done.steps == 2


def test_a_model_writes_by_seed(tmp_path):
    """A random model writes nonsense, which is something else than the answer."""
    from leakatk.prompts import Known

    path = save_tiny_model(tmp_path / "model")
    known = Known(original=str(path))
    first, again, other = (
        get_writer(f"alternates:count=2,shots=1,max_new_tokens=6,seed={seed}").write(PROMPTS, known)
        for seed in (0, 0, 1)
    )
    assert len(first) == 6
    assert first == again
    assert first != other
