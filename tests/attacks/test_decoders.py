import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from leakatk.attacks import decoders, get_attack, split_known
from leakatk.attacks.decoders import above, hidden_states, ridge, wrong_answers
from leakatk.models.load import load_model
from leakatk.prompts import Known, Prompt

PROMPTS = tuple(Prompt(f"p{i}", f"Who is {i}?", f"Person {i}.") for i in range(12))
KNOWN = split_known(Known(forget=PROMPTS), 0, 2)


def test_ridge_is_the_least_of_its_objective():
    """The gradient of the penalised loss is zero, on states standardised by hand."""
    rng = np.random.default_rng(1)
    states, labels = rng.normal(size=(9, 20)) * rng.uniform(0.1, 5, 20), np.array([1.0] * 3 + [-1.0] * 6)
    weights, offset = ridge(states, labels, 0.3)
    share = np.where(labels > 0, 0.5 / 3, 0.5 / 6)
    mean = share @ states
    deviation = np.sqrt(share @ (states - mean) ** 2)
    x, w = (states - mean) / deviation, weights * deviation
    bias = offset + mean @ weights
    left = x @ w + bias - labels
    np.testing.assert_allclose(2 * x.T @ (share * left) + 2 * 0.3 * w, 0, atol=1e-9)
    assert share @ left == pytest.approx(0, abs=1e-12)


def planted(loaded, pairs, depth):
    """States in which one of many numbers says whether the answer is the question's own."""
    rng = np.random.default_rng(7)
    return [np.append(rng.uniform(-1, 1, 6), 3.0 if q[7:-1] == a[7:-1] else -3.0) for q, a in pairs]


def nothing(loaded, pairs, depth):
    return [np.ones(7) for _ in pairs]


def swapped(loaded, pairs, depth):
    """The same number turns its sign between the two halves: what was learned says the opposite."""
    first = {p.id[1:] for p in KNOWN[0].seen}
    return [np.array([1.0 if (q[7:-1] == a[7:-1]) == (q[7:-1] in first) else -1.0]) for q, a in pairs]


@pytest.mark.parametrize(("states", "score"), [(planted, 1.0), (nothing, 0.5), (swapped, 0.0)])
def test_it_finds_what_is_there_and_nothing_else(monkeypatch, states, score):
    monkeypatch.setattr(decoders, "hidden_states", states)
    found = get_attack("decoder").scores(None, KNOWN[0])
    assert found.tolist() == [score] * 6


def test_above():
    assert above(np.array([1.0, 0.0, 2.0, 1.0, 0.5])) == 0.625
    assert np.isnan(above(np.array([1.0])))


def test_wrong_answers_are_never_the_own():
    own = dataclasses.replace(PROMPTS[0], perturbed_answers=("Person 0.", "Nobody."))
    assert wrong_answers(own, PROMPTS, (), 4, 0) == ["Nobody."]
    drawn = wrong_answers(PROMPTS[0], PROMPTS, (), 4, 0)
    assert len(set(drawn)) == 4
    assert PROMPTS[0].answer not in drawn
    assert drawn == wrong_answers(PROMPTS[0], PROMPTS[::-1], (), 4, 0)
    assert wrong_answers(PROMPTS[0], PROMPTS[:1], PROMPTS[:2], 4, 0) == ["Person 1."]
    assert wrong_answers(PROMPTS[0], PROMPTS[:1], (), 4, 0) == []


def test_a_prompt_without_wrong_answers_is_undefined(monkeypatch):
    monkeypatch.setattr(decoders, "hidden_states", planted)
    known = dataclasses.replace(KNOWN[0], unseen=KNOWN[0].unseen[:1])
    assert np.isnan(get_attack("decoder").scores(None, known)).all()


def test_states_are_those_of_the_layer_at_the_last_token(forgot, forget):
    loaded = load_model(forgot)
    pairs = [(p.question, p.answer) for p in forget[:2]]
    seen = []
    layers = loaded.model.model.layers
    handle = layers[0].register_forward_hook(lambda _m, _i, out: seen.append(out[0] if isinstance(out, tuple) else out))
    found = hidden_states(loaded, pairs, 0.5)  # one of two layers
    handle.remove()
    for state, output in zip(found, seen, strict=True):
        np.testing.assert_array_equal(state, output.reshape(-1, output.shape[-1])[-1].double().numpy())
    last = loaded.template.pair(loaded.tokenizer, *pairs[0], end=False).answer[-1]
    embedded = loaded.model.get_input_embeddings().weight[last]
    assert torch.equal(torch.from_numpy(hidden_states(loaded, pairs, 0.0)[0]), embedded.detach().double())


def test_what_it_may_not_see_changes_nothing_it_learns(monkeypatch):
    """Only the seen part reaches the training."""
    asked = []

    def watched(loaded, pairs, depth):
        asked.append({question for question, _ in pairs})
        return planted(loaded, pairs, depth)

    monkeypatch.setattr(decoders, "hidden_states", watched)
    get_attack("decoder").scores(SimpleNamespace(), KNOWN[1])
    assert asked == [{p.question for p in part} for part in (KNOWN[1].seen, KNOWN[1].unseen)]
