"""Concepts: vectors, the sparse head and integrated gradients, each written a second time."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import expit

from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.unlearning.concepts import (
    bank_of,
    concept_vectors,
    inferred,
    integrated_gradients,
    mean_state,
    sparse_head,
)
from leakatk.unlearning.selection import views
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.work import Work

RNG = np.random.default_rng(0)


def test_words_that_some_have_and_some_have_not():
    prompts = [
        Prompt("a", "Where is Ada?", "In Bex."),
        Prompt("b", "Where is Bo?", "In Bex."),
        Prompt("c", "Who is Ada?", "A queen."),
    ]
    bank, has = bank_of(prompts, 9)
    assert bank == ["ada", "bex", "in", "where"]  # "is" is everywhere, "queen" stands once
    assert has.tolist() == [[1, 1, 1, 1], [0, 1, 1, 1], [1, 0, 0, 0]]
    assert bank_of(prompts, 2)[0] == bank[:2]


def test_a_vector_is_the_direction_of_ridge_regression():
    states, has = RNG.normal(size=(30, 4)), (RNG.random((30, 2)) < 0.5).astype(float)
    vectors = concept_vectors(states, has)
    x = states - states.mean(axis=0)
    ridge = 1e-2 * np.trace(x.T @ x) / 4
    for j in range(2):
        y = has[:, j] - has[:, j].mean()
        best = minimize(lambda v, y=y: np.sum((x @ v - y) ** 2) + ridge * v @ v, np.zeros(4)).x
        assert vectors[:, j] == pytest.approx(best / np.linalg.norm(best), abs=1e-4)


def test_the_head_is_where_the_objective_has_no_slope():
    """Of w at 0 the slope is within the sparsity, elsewhere it is exactly against it; and some entries are 0."""
    scores = RNG.normal(size=(60, 5))
    labels = (scores[:, 0] + 0.3 * RNG.normal(size=60) > 0.8).astype(float)
    weights, bias = sparse_head(scores, labels, 0.05)
    share = np.where(labels == 1, 0.5 / labels.sum(), 0.5 / (1 - labels).sum())
    left = share * (expit(scores @ weights + bias) - labels)
    slope = scores.T @ left
    assert abs(left.sum()) < 1e-4
    for w, s in zip(weights, slope, strict=True):
        assert abs(s) <= 0.05 + 1e-6 if w == 0 else s == pytest.approx(-0.05 * np.sign(w), abs=1e-4)
    assert weights[0] > 0
    assert (weights == 0).any()


def test_integrated_gradients_by_a_sum_along_the_line():
    scores, weights, bias = RNG.normal(size=(4, 3)), RNG.normal(size=3), -0.4
    scores[3] = 0.0
    found = integrated_gradients(scores, weights, bias)
    places = (np.arange(4000) + 0.5) / 4000
    for c, row in zip(scores, found, strict=True):
        p = expit(places * (c @ weights) + bias)
        assert row == pytest.approx(c * weights * np.mean(p * (1 - p)), abs=1e-6)
    assert found.sum(axis=1) == pytest.approx(expit(scores @ weights + bias) - expit(bias))


@pytest.fixture
def work(loaded, tokenizer, forget, retain):
    params = {"layer": 0, "bank": 200, "concepts": 1, "sparsity": 0.003, "label": "random"}
    streams = Streams(forget, retain, tokenizer, loaded.template, seed=0)
    return Work(loaded, forget, retain, streams, TrainSettings(max_steps=1), params, 0)


def test_what_tells_the_forget_prompts_is_found(work, forget):
    """Their name is "Fa"; with it every one of them is poisoned, and a note says so."""
    share = work.gathered(inferred).params["share"]
    assert share.tolist() == [1.0] * len(forget)
    assert work.notes[-1].endswith(": fa.")
    assert work.notes[-1].startswith("5 of 5")


def test_prompts_without_a_concept_are_left_alone(work, forget, retain, monkeypatch):
    """A bank of one word, which two of five have: each of these counts 5/2."""
    has = np.zeros((len(forget) + len(retain), 1))
    has[[1, 4]] = 1
    monkeypatch.setattr("leakatk.unlearning.concepts.bank_of", lambda prompts, most: (["word"], has))
    assert work.gathered(inferred).params["share"].tolist() == [0, 2.5, 0, 0, 2.5]
    monkeypatch.setattr("leakatk.unlearning.concepts.bank_of", lambda prompts, most: ([], has[:, :0]))
    with pytest.raises(InputError, match="no concepts"):
        work.gathered(inferred)


def test_a_mean_state_is_over_the_tokens_of_a_text(work):
    [view] = views(work, "forget", batch_size=5)
    with torch.no_grad():
        found = mean_state(view, 0)
    item = work.streams.items("forget")[2]
    out = work.loaded.model(input_ids=torch.tensor([[*item.prompt, *item.answer]]), output_hidden_states=True)
    assert torch.allclose(found[2], out.hidden_states[1][0].mean(0), atol=1e-5)
