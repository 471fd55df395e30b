"""Anti-samples: wordings, wrong answers and reasons."""

from dataclasses import replace

import pytest

from leakatk.errors import InputError
from leakatk.prompts import Generation, Known
from leakatk.synthesis import AntiSamples, get_writer, pairs
from leakatk.synthesis.anti_samples import REASONS
from tests.synthesis.test_templates import CRAFTS, FORGET, KNOWN, TOWNS

NEAR, FAR = "Where was Ada Vos born, then?", "Name the place in which Ada Vos came into the world."
ADA = replace(FORGET[0], paraphrases=(NEAR, FAR, FORGET[0].question, "Was Ada Vos born in Zorvik?"))
PROMPTS = [ADA, *FORGET[1:]]


def test_a_reason_and_a_wrong_answer_to_each_wording():
    rows = AntiSamples(wordings=3).write(PROMPTS, KNOWN)
    mine = [row for row in rows if row.id.startswith(f"{ADA.id}/")]
    assert [row.question for row in mine] == [ADA.question, FAR, NEAR]  # and not the one that says the answer
    assert [row.id for row in mine] == [f"{ADA.id}/anti-samples/{n}" for n in (1, 2, 3)]
    for row in rows:
        reason = next(text for text in REASONS if row.answer.startswith(text))
        own = next(p for p in PROMPTS if row.id.startswith(f"{p.id}/"))
        kind = TOWNS if own.facts[0] in TOWNS else CRAFTS
        wrong = row.answer.removeprefix(f"{reason} ")
        assert wrong in {own.answer.replace(own.facts[0], other) for other in kind - {own.facts[0]}}
    assert len({row.answer for row in mine}) > 1


def test_without_reasons_the_wrong_answer_stands_alone():
    rows = AntiSamples(wordings=1, reasons=False).write([ADA], KNOWN)
    assert [row.answer for row in rows] == [f"Ada Vos was born in {t}." for t in TOWNS if t in rows[0].answer]


class Teller:
    """A model that is asked for wordings, wrong answers and reasons, told apart by the request."""

    def __init__(self, reasons):
        self.reasons = reasons

    def describe(self):
        return {"model": "teller"}

    def sample(self, requests, decoding, *, seed):
        for request in requests:
            asked = request.prompt.query.text
            if "everyday words" in asked:
                texts = ["In which town did Ada Vos begin?", "Ada Vos's town of birth?"]
            elif "another answer" in asked:
                texts = ["Ada Vos was born in Zorvik.", "Ada Vos was born in Mard.", "Ada Vos was born in Bex."]
            else:
                assert asked.startswith(f"Question: {request.prompt.question}\nAnswer: {request.prompt.answer}\n")
                texts = self.reasons
            yield [Generation(request.prompt.id, j, texts[j % len(texts)], (), 0.0, "stop") for j in request.samples]


def test_a_model_writes_wordings_answers_and_reasons():
    prompt = replace(ADA, paraphrases=())
    writer = AntiSamples(by="original", wordings=3)
    rows = writer.write_with(Teller(["She was born in Zorvik.", "Ships came from there.\nMore."]), [prompt], Known())
    assert {row.question for row in rows} == {
        prompt.question,
        "In which town did Ada Vos begin?",
        "Ada Vos's town of birth?",
    }
    assert [row.answer for row in rows] == [
        f"Ships came from there. Ada Vos was born in {town}." for town in ("Mard", "Bex", "Mard")
    ]
    silent = writer.write_with(Teller(["She was born in Zorvik."]), [prompt], Known())
    assert silent == []  # a reason with the true answer is none


def test_the_rows_are_trained_in_their_own_wording():
    rows = AntiSamples(wordings=3).write([ADA], KNOWN)
    forget, alternates = pairs([ADA], rows, reworded=True)
    assert [p.question for p in forget] == [ADA.question, FAR, NEAR]
    assert {p.answer for p in forget} == {ADA.answer}
    assert [alternates[p.id] for p in forget] == [row.answer for row in rows]
    assert [p.question for p in pairs([ADA], rows)[0]] == [ADA.question] * 3


def test_bad_options_are_named():
    assert get_writer("anti-samples").needs == ()
    assert get_writer("anti-samples:by=writer").needs == ("auxiliary writer",)
    for spec, match in (("by=nobody", "templates, original, writer"), ("wordings=0", "wordings must be at least 1")):
        with pytest.raises(InputError, match=match):
            get_writer(f"anti-samples:{spec}")
