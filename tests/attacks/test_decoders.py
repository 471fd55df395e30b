import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from leakatk.attacks import decoders, get_attack, split_known
from leakatk.attacks.decoders import above, hidden_states, wrong_answers
from leakatk.models.load import load_model
from leakatk.prompts import Known, Prompt

PROMPTS = tuple(Prompt(f"p{i}", f"Who is {i}?", f"Person {i}.") for i in range(12))
KNOWN = split_known(Known(forget=PROMPTS), 0, 2)


def planted(loaded, pairs):
    """States in which one of many numbers says whether the answer is the question's own."""
    rng = np.random.default_rng(7)
    found = []
    for q, a in pairs:
        layers = rng.uniform(-1, 1, (3, 7))  # the embeddings and two layers, the first of which tells
        layers[1, 6] = 3.0 if q[7:-1] == a[7:-1] else -3.0
        found.append(layers)
    return found


def nothing(loaded, pairs):
    return [np.ones((3, 7)) for _ in pairs]


def swapped(loaded, pairs):
    """The same number turns its sign between the two halves: what was learned says the opposite."""
    first = {p.id[1:] for p in KNOWN[0].seen}
    return [np.full((3, 1), 1.0 if (q[7:-1] == a[7:-1]) == (q[7:-1] in first) else -1.0) for q, a in pairs]


@pytest.mark.parametrize(("states", "score"), [(planted, 1.0), (nothing, 0.5), (swapped, 0.0)])
@pytest.mark.parametrize("fit", ["ridge", "neighbours"])
@pytest.mark.parametrize("depth", ["best", "0.5"])
def test_it_finds_what_is_there_and_nothing_else(monkeypatch, states, score, fit, depth):
    monkeypatch.setattr(decoders, "hidden_states", states)
    found = get_attack(f"decoder:fit={fit},depth={depth}").scores(None, KNOWN[0])
    assert found.tolist() == [score] * 6


def test_without_labels_it_finds_what_parts_the_pairs(monkeypatch):
    monkeypatch.setattr(decoders, "hidden_states", planted)
    assert get_attack("decoder:fit=ccs,depth=0.5").scores(None, KNOWN[0]).tolist() == [1.0] * 6
    monkeypatch.setattr(decoders, "hidden_states", nothing)
    assert get_attack("decoder:fit=ccs").scores(None, KNOWN[0]).tolist() == [0.5] * 6


def test_the_layer_is_chosen_on_seen_prompts_alone(monkeypatch):
    """What the measured prompts would like best is not what is taken."""
    measured = {p.id[1:] for p in KNOWN[0].unseen}

    def two(loaded, pairs):
        found = planted(loaded, pairs)
        for (q, a), layers in zip(pairs, found, strict=True):
            layers[2, 6] = 9.0 if q[7:-1] in measured and q[7:-1] == a[7:-1] else -9.0  # tells among the measured alone
            if q[7:-1] in measured:
                layers[1, 6] = 0.0
        return found

    monkeypatch.setattr(decoders, "hidden_states", two)
    reading = get_attack("decoder").read(None, KNOWN[0])
    assert reading.notes == ("layer 1 of 2 does best on the 6 seen prompts (1.00).",)
    np.testing.assert_array_equal(reading.scores, reading.profile["layer 1"])
    assert list(reading.profile) == ["layer 1", "layer 2"]


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
    found = hidden_states(loaded, pairs)
    handle.remove()
    for state, output in zip(found, seen, strict=True):
        np.testing.assert_array_equal(state[1], output.reshape(-1, output.shape[-1])[-1].double().numpy())
    last = loaded.template.pair(loaded.tokenizer, *pairs[0], end=False).answer[-1]
    embedded = loaded.model.get_input_embeddings().weight[last]
    assert torch.equal(torch.from_numpy(hidden_states(loaded, pairs)[0][0]), embedded.detach().double())


def test_what_it_may_not_see_changes_nothing_it_learns(monkeypatch):
    """Only the seen part reaches the training."""
    asked = []

    def watched(loaded, pairs):
        asked.append({question for question, _ in pairs})
        return planted(loaded, pairs)

    monkeypatch.setattr(decoders, "hidden_states", watched)
    get_attack("decoder").scores(SimpleNamespace(), KNOWN[1])
    assert asked == [{p.question for p in part} for part in (KNOWN[1].seen, KNOWN[1].unseen)]
