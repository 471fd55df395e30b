import dataclasses

import numpy as np
import pytest
import torch

from leakatk.attacks import get_attack
from leakatk.attacks.key_tokens import contributions
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import Known, Query


@pytest.fixture(scope="module")
def loaded(original):
    return load_model(original)


def mean_logprob(loaded, query, answer):
    """One token of the answer after the other."""
    seam = loaded.template.pair(loaded.tokenizer, query, answer, end=False)
    ids, values = list(seam.prompt), []
    for token in seam.answer:
        with torch.no_grad():
            logits = loaded.model(input_ids=torch.tensor([ids])).logits[0, -1]
        values.append(float(logits.double().log_softmax(-1)[token]))
        ids.append(token)
    return float(np.mean(values))


def test_the_formula_by_brute_force(loaded, forget):
    found = contributions(loaded, forget[:3])
    for prompt, values in zip(forget[:3], found, strict=True):
        words = prompt.question.split()
        assert len(values) == len(words)
        whole = mean_logprob(loaded, prompt.question, prompt.answer)
        for i, value in enumerate(values):
            without = " ".join(word for j, word in enumerate(words) if j != i)
            assert value == pytest.approx(whole - mean_logprob(loaded, without, prompt.answer), abs=1e-3)


def test_the_name_matters_most(loaded, forget):
    """The answer follows from the name, and from nothing else in the question; a small model does not always know."""
    found = zip(forget, contributions(loaded, forget), strict=True)
    hits = [prompt.question.split()[int(np.argmax(values))] == prompt.source for prompt, values in found]
    assert sum(hits) > len(hits) / 2


def test_turns_and_begun_answers_stay(loaded, forget):
    asked = Query("And where is that?", turns=(("Where does Ada live?", "In Bex."),), begin="It")
    prompt = dataclasses.replace(forget[0], asked=asked)
    [values] = contributions(loaded, [prompt])
    assert len(values) == 4
    without = dataclasses.replace(asked, text="And where is")
    expected = mean_logprob(loaded, asked, prompt.answer) - mean_logprob(loaded, without, prompt.answer)
    assert values[3] == pytest.approx(expected, abs=1e-3)


QUESTION, FOUND = "Where does Ada live, Ada?", np.array([0.5, -1.0, 0.3, 0.05, 0.2])


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("key-tokens", "Where does Ada live, Ada?\nThe words that matter: Where, Ada."),
        ("key-tokens:form=only", "Where Ada?"),
        ("key-tokens:threshold=0.4,form=only", "Where?"),
        ("key-tokens:threshold=0.04,form=only", "Where Ada live?"),
        ("key-tokens:threshold=9,form=only", "Where?"),  # the strongest, where none passes
    ],
)
def test_rebuilt(spec, text):
    assert get_attack(spec).rebuilt(QUESTION, FOUND) == text


def test_prompts_keep_id_answer_and_question(loaded, forget):
    known = Known(forget=tuple(forget), unseen=tuple(forget[:4]))
    asked = get_attack("key-tokens:form=only").prompts(loaded, known)
    assert [dataclasses.replace(prompt, asked=None) for prompt in asked] == forget[:4]
    found = contributions(loaded, forget[:4])
    for prompt, values in zip(asked, found, strict=True):
        strongest = prompt.question.split()[int(np.argmax(values))].strip("?")
        assert strongest in prompt.query.text


def test_key_words_of_the_model_before(loaded, blank, forget, retain):
    """The attacked model knows nothing; the words are those that the original's answers depend on."""
    known = Known(unseen=tuple(forget[:3]), retain=tuple(retain[:2]), original=loaded.name)
    attack, empty = get_attack("key-tokens:form=only,by=original"), load_model(blank)
    theirs = get_attack("key-tokens:form=only")
    assert attack.prompts(empty, known) == theirs.prompts(loaded, known) != theirs.prompts(empty, known)
    assert attack.kept(empty, known) == theirs.kept(loaded, known)
    assert [prompt.id for prompt in theirs.kept(loaded, known)] == [prompt.id for prompt in retain[:2]]
    words = sum(len(p.question.split()) + 1 for p in (*forget[:3], *retain[:2]))
    assert theirs.cost(loaded, known).texts == words
    with pytest.raises(InputError, match="--original"):
        attack.check(dataclasses.replace(known, original=""))
