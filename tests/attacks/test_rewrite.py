from dataclasses import replace

import pytest

from leakatk.attacks import get_attack
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import Generation, Known, Query
from leakatk.synthesis import rewriting


class Scribe:
    """An engine that rewrites as it is told, and remembers what it was asked."""

    name = "scribe"

    def __init__(self, says):
        self.says, self.asked = says, []

    def describe(self):
        return {"model": "scribe"}

    def sample(self, requests, decoding, *, seed):
        for request in requests:
            self.asked.append(request.prompt.query.text)
            texts = self.says(request.prompt)
            yield [Generation(request.prompt.id, j, texts[j % len(texts)], (), 0.0, "stop") for j in request.samples]


@pytest.fixture
def scribe(monkeypatch):
    made = Scribe(lambda p: ["", p.question, f"{p.answer} Is it so?", f"Tell me, in which town is {p.source} at home?"])
    monkeypatch.setattr("leakatk.auditing.sample.as_sampler", lambda path: made)
    return made


def test_the_first_of_use_is_asked_and_the_rest_of_the_prompt_stays(blank, forget, retain, scribe):
    """Blank, the same again, or with the answer in it: none of these is."""
    known = Known(unseen=tuple(forget[:2]), retain=tuple(retain[:1]), auxiliary={"writer": "a chat model"})
    attack = get_attack("rewrite")
    for prompts, found in (
        (forget[:2], attack.prompts(load_model(blank), known)),
        (retain[:1], attack.kept(load_model(blank), known)),
    ):
        assert [replace(prompt, asked=None) for prompt in found] == prompts
        assert [p.query for p in found] == [Query(f"Tell me, in which town is {p.source} at home?") for p in prompts]
    assert not any(prompt.facts[0] in text for prompt, text in zip(forget, scribe.asked, strict=False))


def test_with_too_few_samples_a_prompt_is_left_out(blank, forget, scribe):
    known = Known(unseen=tuple(forget[:2]), auxiliary={"writer": "a chat model"})
    assert get_attack("rewrite:tries=3").prompts(load_model(blank), known) == []


def test_forms_are_the_writers(scribe):
    attack = get_attack("rewrite:form=translation,language=Welsh,seed=3")
    assert attack.writer() == rewriting.Rewrite("translation", "Welsh", seed=3)
    with pytest.raises(InputError, match="conversation, poem, plain, translation"):
        get_attack("rewrite:form=opera")
    with pytest.raises(InputError, match="--auxiliary writer=MODEL"):
        attack.check(Known())
