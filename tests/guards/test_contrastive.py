"""Contrastive training: its pairs, its loss by a second writing, and that it brings wordings together and near misses apart."""

from dataclasses import replace

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.guards.contrastive import Trained, moved, pairs, trained
from leakatk.guards.detectors import Similarity, vectors
from leakatk.prompts import Known, Prompt
from tests.guards.conftest import ALL, FORGET, RETAIN

KNOWN = Known(FORGET, RETAIN, encoder="words")


def loss(first, second, same, left, right, margin=0.5):
    total = 0.0
    for u, v, y in zip(first, second, same, strict=True):
        u, v = u + left @ (right.T @ u), v + left @ (right.T @ v)
        d = 1 - u @ v / np.linalg.norm(u) / np.linalg.norm(v)
        total += 0.5 * (y * d**2 + (1 - y) * max(0.0, margin - d) ** 2)
    return total / len(same)


def rows(seed=0, m=9, d=6):
    draw = np.random.default_rng(seed)
    made = [draw.normal(size=(m, d)) for _ in range(2)]
    return *(one / np.linalg.norm(one, axis=1, keepdims=True) for one in made), (np.arange(m) % 2).astype(float)


def test_one_step_goes_down_the_slope_of_the_loss():
    """Adam's first step is the rate against the sign of the gradient, here by finite differences; B begins as it was drawn."""
    first, second, same = rows()
    rate = 1e-3
    _, start = trained(first, second, same, margin=0.5, steps=0, rate=rate, rank=2, seed=1)
    left, _ = trained(first, second, same, margin=0.5, steps=1, rate=rate, rank=2, seed=1)
    for i in range(first.shape[1]):
        for j in range(2):
            step = np.zeros_like(left)
            step[i, j] = 1e-5
            slope = (loss(first, second, same, step, start) - loss(first, second, same, -step, start)) / 2e-5
            assert left[i, j] == pytest.approx(-rate * np.sign(slope), rel=1e-3)


@pytest.mark.parametrize("margin", [0.3, 0.9])
def test_training_lowers_the_loss(margin):
    first, second, same = rows(seed=2)
    left, right = trained(first, second, same, margin=margin, steps=150, rate=0.01, rank=3, seed=0)
    none = np.zeros_like(left)
    assert loss(first, second, same, left, right, margin) < 0.7 * loss(first, second, same, none, right, margin)


def test_the_map():
    made = rows()[0]
    left, right = (np.random.default_rng(i).normal(size=(6, 2)) for i in (1, 2))
    by_hand = np.array([row + left @ (right.T @ row) for row in made])
    np.testing.assert_allclose(moved(made, left, right), by_hand / np.linalg.norm(by_hand, axis=1, keepdims=True))
    np.testing.assert_allclose(moved(made, np.zeros((6, 2)), right), made)


def test_pairs_are_a_wording_and_a_near_miss_of_each_question():
    """The miss stands on the other side: two questions that are both to be forgotten are not driven apart."""
    forget = [replace(FORGET[0], paraphrases=("Which town is Ada Korvin's?",)), *FORGET[1:]]
    first, second, same = pairs(forget, RETAIN, "words")
    assert len(first) == 3 * (len(FORGET) + len(RETAIN))
    assert (first[0], second[0], same[0]) == (FORGET[0].question, "Which town is Ada Korvin's?", 1.0)
    cosine = vectors([p.question for p in RETAIN], "words") @ vectors([FORGET[0].question], "words")[0]
    assert (first[1], second[1], same[1]) == (FORGET[0].question, RETAIN[int(cosine.argmax())].question, 0.0)
    assert first[2] == "Which town is Ada Korvin's?"
    assert same.sum() == len(FORGET) + len(RETAIN)
    kept = {prompt.question for prompt in RETAIN}
    misses = [(a, b) for a, b, y in zip(first[1::3], second[1::3], same[1::3], strict=True) if y == 0]
    assert all((a in kept) != (b in kept) for a, b in misses)


ASKED = ("Where was {} born?", "Who taught {}?", "What did {} write?")
OTHERWISE = ("I wonder in which town {} was born.", "Name the teacher of {}.", "Tell me the title of a book by {}.")
PEOPLE = ("Ada Korvin", "Bo Tamsin", "Cy Dellane", "Dee Quell", "Eli Marsh", "Fay Ostrow", "Gus Pell", "Hal Rusk")


def about(people, forms):
    return tuple(Prompt(f"{name} {i}", form.format(name), "x") for name in people for i, form in enumerate(forms))


def test_trained_it_flags_new_wordings_and_not_new_people():
    """Wordings that it was not trained on, and people whom it never met, asked about in the forget questions' very words."""
    known = Known(about(PEOPLE[:2], ASKED), about(PEOPLE[2:6], ASKED), encoder="words")
    wordings, misses = about(PEOPLE[:2], OTHERWISE), about(PEOPLE[6:], ASKED)

    def gap(detector):
        made = detector.fit(known, None)
        return made.score(wordings).mean() - made.score(misses).mean()

    assert gap(Trained()) < 0 < gap(Trained(steps=80, rank=8))


def test_without_steps_it_is_the_similarity():
    mine, plain = Trained().fit(KNOWN, None), Similarity().fit(KNOWN, None)
    assert mine.score(ALL).tolist() == plain.score(ALL).tolist()
    assert mine.score([]).shape == (0,)


def test_it_is_the_same_every_time_and_its_seed_matters():
    one, same, other = (Trained(steps=5, train_seed=seed).fit(KNOWN, None).score(ALL) for seed in (0, 0, 1))
    assert one.tolist() == same.tolist()
    assert one.tolist() != other.tolist()


def test_bad_options():
    with pytest.raises(InputError, match="Training needs"):
        Trained(steps=-1)
    with pytest.raises(InputError, match="retain"):
        Trained(steps=1).fit(Known(FORGET, encoder="words"), None)
