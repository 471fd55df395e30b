"""Asking a model: its greedy answers, how sure it is of them, and names it may know."""

import random

import numpy as np
import pytest

from leakatk.models.token_stats import answer_pairs, token_stats
from leakatk.progress import Progress
from leakatk.prompts import Prompt
from leakatk.sampling.native import NativeSampler
from leakatk.unlearning.rehearsal.asker import (
    KNOWN,
    Asker,
    known,
    letters_of,
    mixed_words,
    random_tokens,
    random_words,
)
from leakatk.unlearning.rehearsal.budget import Budget
from leakatk.unlearning.stop import greedy_texts


@pytest.fixture
def asker(loaded):
    return Asker(loaded, NativeSampler(loaded), lambda text: True, 5, 0, Progress("asking", 1, quiet=True))


def test_greedy_answers_are_the_models_most_likely_ones(asker, loaded, retain):
    told = asker.greedy(retain)
    assert [p.answer for p in told] == [text.strip() for text in greedy_texts(loaded, retain, max_new_tokens=5)]
    assert [(p.id, p.question) for p in told] == [(p.id, p.question) for p in retain]
    assert [p.answer for p in asker.sampled(retain)] != [p.answer for p in told]
    assert asker.sampled(retain) == asker.sampled(retain)


def test_sureness_is_the_mean_log_probability_of_a_token(asker, loaded, retain):
    stats = token_stats(loaded, answer_pairs(loaded, [p.question for p in retain], [p.answer for p in retain]))
    assert asker.sureness(retain) == pytest.approx(np.array([one.logprob.mean() for one in stats]))


def test_what_is_known_says_so_in_its_id():
    assert known(Prompt("own/echo/3", "?", "x")).id == f"{KNOWN}echo/3"


def test_invented_words_are_mixtures_and_random_tokens(loaded):
    rng = random.Random(0)
    made = [*mixed_words(["Anton", "Bera"], 2, 9, rng), *random_words(letters_of(loaded), 2, 9, rng)]
    assert len(made) == 18
    assert all(len(text.split()) == 2 and text == text.title() for text in made)
    assert set(mixed_words(["Anton"], 1, 3, rng)) == {"Anton"}


def test_no_answer_goes_beyond_the_budget(asker, loaded, retain):
    asker.greedy(retain)
    asker.sureness(asker.greedy(retain), "second")
    read = sum(len(loaded.template.prompt_ids(loaded.tokenizer, p.question)) for p in retain)
    assert read < asker.budget.spent["questions"] <= 2 * (read + 5 * len(retain))
    assert asker.budget.spent["second"] > 0
    for bound in (0, 60, 200):
        budget = Budget(bound)
        one = Asker(asker.model, asker.sampler, asker.clean, 5, 0, asker.progress, budget)
        told = one.greedy(retain)
        one.sureness(told)
        assert budget.used <= bound
        assert len(told) + budget.cut["questions"] == len(retain)
        assert [p.id for p in told] == [p.id for p in retain][: len(told)]
    assert told


def test_random_tokens_are_text_of_the_vocabulary(loaded):
    rng = random.Random(0)
    texts = {random_tokens(loaded, 4, rng) for _ in range(20)}
    assert len(texts) > 10
    assert random_tokens(loaded, 0, rng) == ""
