"""DRAGON's detector against a second writing of its sums, and what each part of them sees."""

from dataclasses import replace

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.guards.detectors import logistic, vectors
from leakatk.guards.dragon import Added
from leakatk.prompts import Known, Prompt
from leakatk.scorers.rouge import rouge_l
from tests.guards.conftest import ALL, FORGET, RETAIN

KNOWN = Known(FORGET, RETAIN, encoder="words")


def parts(prompts, stored):
    """(cosine, classifier says yes) of each prompt, by hand."""
    texts = [prompt.question for prompt in prompts]
    near = np.array([max(float(a @ b) for b in vectors(stored, "words")) for a in vectors(texts, "words")])
    both = vectors([p.question for p in (*FORGET, *RETAIN)], "words")
    label = np.array([1.0] * len(FORGET) + [0.0] * len(RETAIN))
    weights = logistic(both, label, 0.001)
    sure = 1 / (1 + np.exp(-(vectors(texts, "words") @ weights[:-1] + weights[-1]))) > 0.5
    return near, sure


MORE = [*ALL, Prompt("n", "Tell me a joke about Ada Korvin", ""), Prompt("m", "Where was she born?", "")]


def test_the_sum_of_privacy():
    near, sure = parts(MORE, [p.question for p in FORGET])
    name = np.array([any(n in p.question for n in ("Ada Korvin", "Bo Tamsin", "Cy Dellane")) for p in MORE])
    np.testing.assert_allclose(Added().fit(KNOWN, None).score(MORE), name + near + sure, atol=1e-9)


def test_the_sum_of_a_concept():
    near, sure = parts(MORE, [p.question for p in FORGET])
    rouge = np.array([max(rouge_l([s.question], [p.question]).f1[0] for s in FORGET) for p in MORE])
    np.testing.assert_allclose(Added(form="concept").fit(KNOWN, None).score(MORE), rouge + near + sure, atol=1e-9)


def test_other_wordings_are_stored_and_answers_are_not():
    other = "In which town did Korvin, Ada come into the world?"
    known = replace(KNOWN, forget=(replace(FORGET[0], paraphrases=(other,)), *FORGET[1:]))
    found = Added().fit(known, None)
    assert other in found.texts
    assert not any(prompt.answer in found.texts for prompt in FORGET)
    prompt = [Prompt("x", other, "")]
    assert found.score(prompt)[0] > Added().fit(KNOWN, None).score(prompt)[0]


def test_the_encoder_is_asked_once(monkeypatch):
    """It is nearly all that the detector costs."""
    found, asked = Added().fit(KNOWN, None), []
    monkeypatch.setattr(
        "leakatk.guards.dragon.vectors", lambda texts, name: asked.append(texts) or vectors(texts, name)
    )
    monkeypatch.setattr("leakatk.guards.detectors.vectors", lambda *_: pytest.fail("asked again"))
    found.score(MORE)
    assert asked == [[prompt.question for prompt in MORE]]


def test_a_name_alone_and_a_likeness_alone_do_not_flag():
    """That the three are added up matters: each alone stays below the threshold."""
    found = Added().fit(KNOWN, None)
    assert found.flags(ALL).tolist() == [True] * len(FORGET) + [False] * len(RETAIN)
    assert found.score([]).shape == (0,)


def test_bad_options():
    with pytest.raises(InputError, match="form is one of privacy, concept"):
        Added(form="both")
    with pytest.raises(InputError, match="retain"):
        Added().fit(Known(FORGET, encoder="words"), None)
