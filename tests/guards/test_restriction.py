"""GUARD: its network, what it forbids, and a model behind it against passes over the whole text."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.guards.restriction import Restrict, States, alike_tokens, perceptron
from leakatk.guards.sampler import guarded
from leakatk.models.matching import Forbidden
from leakatk.prompts import Known
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.teacher_forcing import truths_of
from tests.guards.conftest import ALL, DECODING, ENGINES, FORGET, RETAIN, acting_on_forget, drawn, leaks
from tests.guards.test_watching import hidden, rendered

KNOWN = Known(forget=FORGET, retain=RETAIN, encoder="words")


def test_the_network_separates_what_no_line_does():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(float)
    first, offset, last, end = perceptron(x, y, hidden=32, steps=300, seed=0)
    logit = np.tanh(x @ first + offset) @ last + end
    assert np.mean((logit > 0) == (y == 1)) > 0.9
    again = perceptron(x, y, hidden=32, steps=300, seed=0)
    assert all((a == b).all() for a, b in zip((first, offset, last, end), again, strict=True))


def test_log_odds_of_mean_states_by_hand(loaded):
    made = States(layer=0).fit(KNOWN, loaded)
    middle, spread, first, offset, last, end = made.weights
    for prompt, score in zip(ALL, made.score(ALL), strict=True):
        mean = hidden(loaded, rendered(loaded, prompt), 0).mean(0)
        logit = sum(
            last[j] * math.tanh(sum((mean - middle) / spread * first[:, j]) + offset[j]) for j in range(len(last))
        ) + float(end[0])
        assert score == pytest.approx(logit, rel=1e-4, abs=1e-4)
    assert made.score(FORGET).min() > 2
    assert made.score(RETAIN[::2]).max() < -2


def test_what_is_forbidden(loaded):
    action = Restrict().fit(KNOWN, loaded)
    assert [action.phrases(i) for i in range(3)] == [("Zorvik",), ("Mira Quell",), ("The Glass Orchard",)]
    bare = tuple(replace(prompt, facts=()) for prompt in FORGET)
    words = Restrict().fit(replace(KNOWN, forget=bare), loaded)
    assert [words.phrases(i) for i in range(3)] == [
        ("in", "Zorvik"),
        ("by", "Mira", "Quell"),
        ("wrote", "Glass", "Orchard"),
    ]
    assert [action.group(loaded, prompt) for prompt in FORGET] == [0, 1, 2]
    other = replace(FORGET[1], id="x", question="Who was the teacher of Bo Tamsin?")
    assert action.group(loaded, other) == 1


def test_alike_tokens_by_hand(loaded):
    table = loaded.model.get_input_embeddings().weight.detach().double().numpy()
    table = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-30)
    never = {*loaded.tokenizer.all_special_ids, *loaded.end_ids, 40, 41}
    wanted = [v for v in range(len(table)) if v not in never and max(table[v] @ table[40], table[v] @ table[41]) >= 0.2]
    assert alike_tokens(loaded, [40, 41], 0.2) == tuple(wanted)
    assert wanted
    assert alike_tokens(loaded, [40], 1.0) == ()


def forbidden_of(action, loaded, number):
    made = action.forbidden(loaded, number)
    assert isinstance(made, Forbidden)
    return made


def penalty(said, forbidden, vocabulary):
    """(vocabulary,) written as the paper has it: a walk through each forbidden sequence."""
    found = np.zeros(vocabulary)
    for sequence in forbidden.sequences:
        for done in range(len(sequence)):
            if tuple(said[len(said) - done :]) == sequence[:done]:
                whole = done + 1 == len(sequence)
                size = math.inf if whole else forbidden.partly * (done + 1) / len(sequence)
                found[sequence[done]] = max(found[sequence[done]], size)
    found[list(forbidden.alike)] += forbidden.soft
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_drawn_has_the_probability_of_the_formula(loaded, engine):
    action = Restrict(partly=1.5, soft=0.5, like=0.3)
    sampler = guarded(ENGINES[engine](loaded), KNOWN, acting_on_forget(action))
    fitted = sampler.guard.action

    def wanted(number, answer):
        ids, forbidden = rendered(loaded, FORGET[number]), forbidden_of(fitted, loaded, number)
        with torch.inference_mode():
            z = loaded.model(input_ids=torch.tensor([[*ids, *answer]])).logits[0].double().log_softmax(-1).numpy()
        total = 0.0
        for place, token in enumerate(answer):
            row = z[len(ids) - 1 + place] - penalty([*ids, *answer[:place]], forbidden, z.shape[1])
            total += row[token] - np.logaddexp.reduce(row)
        return total

    for one in drawn(sampler, FORGET, n=4).values():
        assert one.logprob == pytest.approx(wanted(int(one.prompt_id[1]), one.token_ids), abs=1e-3)
    for prompt in FORGET:
        assert truths_of(sampler, [prompt], DECODING)[prompt.id][1] == -math.inf


def test_it_stops_what_it_is_for_and_nothing_else(loaded, plain):
    sampler = guarded(NativeSampler(loaded), KNOWN, "guard")
    assert sampler.flags(ALL).tolist() == [True] * 3 + [False] * 4
    found = drawn(sampler, ALL)
    assert leaks(found, FORGET) < leaks(plain, FORGET) - 0.7
    kept = {key: one.token_ids for key, one in plain.items() if key[0][0] == "r"}
    assert {key: one.token_ids for key, one in found.items() if key[0][0] == "r"} == kept


def test_options_that_cannot_be(loaded):
    with pytest.raises(InputError, match="partly and soft are at least 0"):
        Restrict(partly=-1.0)
    with pytest.raises(InputError, match="at least 1 hidden unit"):
        States(hidden=0).fit(KNOWN, loaded)
